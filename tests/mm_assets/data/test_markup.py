import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.data.markup import strip_markup


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "I <3 you, >:( <(^_^)> \\o/ </3",
        "x<y && y>z; a->b <- c <= d <=> e",
        "std::vector<a> v; List<String> s; Map<K, V> m; #include <map>",
        "write to <joe@example.org> or <https://example.org/?a=1&copy=2>",
        "usage: cp [-r] <source> <target>; <your name>",
        "use <div> please, or <p>",
        "<!-- that never ends, <![CDATA[ nor this, <script>",
        "&nosuch; & &; AT&T &copy &#;",
        "你好 <世界> 5 < 6",
    ],
)
def test_what_only_looks_like_markup_stays(text):
    assert strip_markup(text) == text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("<p>Hello <b>w</b>orld</p><p>two</p>", "Hello world two"),
        ("Great!<br />Really<BR>great", "Great! Really great"),
        ("<a href='http://x.y/?a=1>'>here</a>, <a href=z.html?b=2>there</a>", "here, there"),
        ('<img src="a.png" alt="3 > 2"> told by its attribute', "told by its attribute"),
        ("<b>你</b>好。<ruby>漢<rt>かん</rt></ruby>", "你好。漢かん"),
        ("<p>مرحبا <i>بك</i></p>", "مرحبا بك"),
        ("a<!-- <b>never seen</b> -->b", "a b"),
        ("<style>p {color: red}</style><script>if (a</b/.x) f('<p>')</script >seen", "seen"),
        ("<!DOCTYPE html><html><body>seen</body></html>", "seen"),
        ("<?xml version='1.0'?><note><to>Tove</to><x/>Jani</note>", "Tove Jani"),
        ("<t><![CDATA[a <b>literal</b> &amp; all]]></t>", "a <b>literal</b> &amp; all"),
        ("<p>List<String> in a page, 3 < 4</p>", "List<String> in a page, 3 < 4"),
        ("AT&amp;T &lt;3 &#x1F600;&#128512; caf&eacute;", "AT&T <3 😀😀 café"),
        ("&lt;b&gt; is &amp;lt;b&amp;gt;", "<b> is &lt;b&gt;"),
    ],
)
def test_markup_goes_and_its_text_stays(text, read):
    assert " ".join(strip_markup(text).split()) == read


PIECES = ["<", ">", "/", "a", "<b>", "</b>", "<x y='", "=", '"', " ", "<!--", "-->", "]]>", "&"]
PIECES += ["<![CDATA[", "<script", "</script>", "&amp;", "&#0;", "<?xml", "?>", "好"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_what_no_tag_says_is_kept(text):
    if "<" not in text and "&" not in text:
        assert strip_markup(text) == text
    # Nothing is read between marks that was not there.
    assert strip_markup(text).count("好") <= text.count("好")
    assert len(strip_markup(text)) <= len(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<!--",
        "<a b=",
        "<a b='",
        "<",
        "&",
        "<script",
        "<![CDATA[",
        "<b>x</b>",
        "<a\t\t",
        " b=",
    ],
)
def test_time_grows_with_length_alone(piece):
    text = "<a " + piece * (500_000 // len(piece))
    started = time.process_time()
    strip_markup(text)
    assert time.process_time() - started < 15
