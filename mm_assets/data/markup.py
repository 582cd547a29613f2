"""Text out of HTML and XML, and out of nothing that merely looks a little like them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import chain

# A tag, whole, with attributes that are written as such: `a <b && c> d` has none. Possessive
# throughout, and ended by the next `<`, so that time grows with the text's length alone.
TAG = re.compile(
    r"<(?P<close>/?+)(?P<name>[A-Za-z][\w:.-]*+)"
    r"(?P<attributes>(?:\s++[A-Za-z_:@][\w:.@-]*+"
    r"(?P<value>\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'<>`]++))?+)*+)"
    r"\s*+(?P<empty>/?+)>"
)
# What is no tag and ends at a mark of its own; the last two hold nothing that is read.
SECTION = re.compile(r"<!--|<!\[CDATA\[|<\?xml\b|<!doctype\b|<(?:script|style)\b", re.IGNORECASE)
ENDS = {
    "<!--": re.compile("-->"),
    "<![cdata[": re.compile("]]>"),
    "<?xml": re.compile(r"\?>"),
    "<!doctype": re.compile(">"),
    "<script": re.compile(r"</script\s*+>", re.IGNORECASE),
    "<style": re.compile(r"</style\s*+>", re.IGNORECASE),
}
# With its semicolon: `?a=1&copy=2` is an address, not a copyright sign.
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# Elements that stand within a line: words go on through them.
INLINE_NAMES = """
    a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr output
    q rb rp rt rtc ruby s samp small span strike strong sub sup time tt u var wbr"""
INLINE = frozenset(INLINE_NAMES.split())
BLOCK_NAMES = """
    address area article aside audio base blockquote body br button canvas caption center col
    colgroup dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame
    frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main map
    menu meta meter nav noscript object ol optgroup option p param picture pre progress section
    select slot source summary svg table tbody td template textarea tfoot th thead title tr track
    ul video"""
BLOCK = frozenset(BLOCK_NAMES.split())
ALONE = frozenset({"br", "hr"})  # that say all by themselves that a text is HTML


def strip_markup(text: str) -> str:
    """Take HTML or XML out: tags, comments, declarations, scripts and styles; entities in.

    A text counts as markup once it has a tag that is closed again, one with an attribute's value,
    an empty one (`<br>`, `<x/>`), or a whole comment, CDATA section or declaration; then HTML's
    elements go, and those of other names that are closed. So `a < b`, `<3`, `List<String>` and
    `<your name>` stay. Elements that end a line leave a space, others nothing. Entities are
    resolved once, in any text: ``&amp;lt;`` is how one writes ``&lt;``.

    Args:
        text: Any.

    Source:
        https://html.spec.whatwg.org/multipage/syntax.html, elements of HTML 4 and 5.
    """
    if "<" not in text:
        return _resolve(text)
    parts = list(_split_sections(text))
    tags = list(chain.from_iterable(TAG.finditer(part) for part, plain in parts if plain))
    opened = {tag["name"].lower() for tag in tags if not tag["close"]}
    closed = {tag["name"].lower() for tag in tags if tag["close"]} & opened
    empty = {tag["name"].lower() for tag in tags if tag["empty"]}
    told = {tag["name"].lower() for tag in tags if tag["value"]} & (INLINE | BLOCK)
    if not (closed or empty or told or ALONE & opened or len(parts) > 1):
        return _resolve(text)
    names = INLINE | BLOCK | closed | empty

    def replace(tag: re.Match[str]) -> str:
        name = tag["name"].lower()
        if name not in names:
            return tag[0]
        return "" if name in INLINE else " "

    return "".join(_resolve(TAG.sub(replace, part)) if plain else part for part, plain in parts)


def _split_sections(text: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies between sections, and what a CDATA section holds, which is read as it is."""
    start = at = 0
    endless: set[str] = set()  # kinds that end nowhere further on; looked for once
    while section := SECTION.search(text, at):
        kind = section[0].lower()
        end = None if kind in endless else ENDS[kind].search(text, section.end())
        if end is None:
            endless.add(kind)
            at = section.end()
            continue
        yield text[start : section.start()], True
        yield text[section.end() : end.start()] if kind == "<![cdata[" else " ", False
        start = at = end.end()
    yield text[start:], True


def _resolve(text: str) -> str:
    """Resolve entities; one that nobody defined stays."""
    return ENTITY.sub(lambda entity: html.unescape(entity[0]), text) if "&" in text else text
