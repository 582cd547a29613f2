"""The sample's messages in Chinese (simplified): the same channels, worded anew."""

from __future__ import annotations

import re

from mm_assets.sources.sample.text import Language

INTENTS: dict[str, tuple[str, ...]] = {
    "delivery": (
        "我想问一下{item}的配送情况，物流显示包裹{where}",
        "快递员说我的{item}包裹{where}，运单号是{number}",
        "请问{item}什么时候发货，物流页面显示{where}",
        "装着{item}的包裹正在派送，目前{where}",
        "麻烦让快递员把{item}的包裹放在{place}",
        "运单{number}里是我的{item}，请派送到{place}",
        "能不能{day}送{item}的快递，放到{place}就行",
    ),
    "billing": (
        "我想问一下{item}的发票，上面的金额是{amount}元",
        "买{item}的时候，我的信用卡被扣了{amount}元",
        "来信是关于{day}的账单，合计{amount}元",
        "发票{number}的{amount}元货款已经在{day}支付",
        "请把{item}的收据和增值税发票开给我，金额{amount}元",
        "关于退款：{amount}元应该退回我的银行账号",
        "发票{number}的{amount}元在{day}自动扣款了",
    ),
    "defect": (
        "我买的{item}不能用了，{part}坏了",
        "我来反映{item}的质量问题：{part}有裂纹",
        "{item}{day}开不了机，应该是硬件故障",
        "{item}的{part}掉下来了，需要保修期内维修",
        "{item}发烫，{part}已经损坏，需要换一台",
        "来信是因为{item}的{part}出了故障，不能正常工作",
        "{item}有异响，{part}失灵了",
    ),
    "account": (
        "我想重新设置会员账户的登录密码",
        "我登录不了网上的个人中心，重置密码的链接已经过期",
        "请帮我修改会员资料里的邮箱和用户名",
        "我的账户被锁定了，手机收不到登录验证码",
        "来信是关于账户设置，我要更新用户名和密码",
        "请注销我的第二个账户，保留尾号{number}的会员资料",
        "登录账户时，系统要求输入两步验证的验证码",
    ),
    "praise": (
        "我想给贵公司的{name}写个评价，是在{desk}接待我的",
        "我想推荐{desk}的{name}当本月优秀员工",
        "来信是想给{desk}的{name}和同事们打五颗星",
        "请向{desk}的顾问{name}转达表扬",
        "这是写给{desk}全体员工的表扬信，尤其是{name}",
        "我会向朋友推荐你们的团队，特别是{desk}的{name}",
        "这封表扬信写给{desk}的工作人员{name}",
    ),
}
SENTIMENTS: dict[str, tuple[str, ...]] = {
    "negative": (
        "我{furious}，也{upset}",
        "我{upset}，{week}都被{ruined}了",
        "这样的体验真是{terrible}",
        "这件事让我{furious}，简直{terrible}",
        "我心里{upset}，{week}就这么{ruined}了",
        "{terrible}，我讨厌这样",
    ),
    "neutral": (
        "这{only}供你们参考",
        "我没有什么特别的看法",
        "这{only}例行的说明",
        "我{only}做个记录",
        "不着急，{whenever}回复就行",
        "我{only}按流程说一声",
    ),
    "positive": (
        "我{delighted}，也{grateful}",
        "我{grateful}，你们{made}了我的{week}",
        "这样的体验真是{wonderful}",
        "这件事让我{delighted}，简直{wonderful}",
        "我心里{grateful}，{week}都被你们{made}了",
        "{wonderful}，我喜欢这样",
    ),
}
WORDS: dict[str, tuple[str, ...]] = {
    "furious": ("非常生气", "火冒三丈", "很愤怒", "气坏了", "忍无可忍", "十分恼火"),
    "upset": ("很失望", "很沮丧", "很难受", "特别郁闷", "非常不满", "很委屈"),
    "ruined": ("毁掉", "搞砸", "弄糟", "糟蹋"),
    "terrible": ("太糟糕了", "太差劲了", "糟透了", "差到极点", "让人无语", "一塌糊涂"),
    "delighted": ("非常高兴", "特别开心", "喜出望外", "很惊喜", "十分愉快", "乐坏了"),
    "grateful": ("很感激", "很感动", "满心欢喜", "特别满意", "非常感谢", "很欣慰"),
    "made": ("点亮", "温暖", "照亮", "装点"),
    "wonderful": ("太棒了", "太好了", "好极了", "非常完美", "让人赞叹", "无可挑剔"),
    "week": ("这一周", "这一天", "周末", "这个月", "假期", "晚上"),
    "only": ("只是", "仅仅是", "不过是", "就是"),
    "whenever": ("方便的时候", "过些日子", "有空时", "在正常时间内", "照平常的流程", "有人值班时"),
    "item": ("台灯", "电水壶", "收音机", "耳机", "打印机", "面包机", "相机", "音箱", "电钻", "路由器",
             "显示器", "榨汁机"),
    "where": ("还在仓库", "在运输途中", "在派送车上", "在分拣中心", "在海关", "在邻居家"),
    "place": ("家门口", "车库", "前台", "门廊", "快递驿站", "快递柜"),
    "part": ("开关", "屏幕", "电池", "转轴", "外壳", "电源"),
    "desk": ("服务台", "热线", "市区门店", "柜台", "咨询台"),
    "day": ("周一", "周二", "周四", "周五", "周六", "这周"),
    "name": ("王芳", "李伟", "张敏", "刘洋", "陈静", "杨帆", "赵磊", "黄丽", "周杰", "吴娜"),
    "greeting": ("您好，", "你好！", "各位同事：", "早上好，", "客服您好：", "", "", ""),
    "closing": ("此致。", "祝好。", "来自我的手机。", "", "", "", "", ""),
}  # fmt: skip

CHINESE = Language(
    clauses=INTENTS | SENTIMENTS,
    words=WORDS,
    full_stop="。",
    gap="",
    mistypable=re.compile(r"[\u4e00-\u9fff]{6,}"),
    title="Messages to a service desk, in Chinese (generated sample)",
)
