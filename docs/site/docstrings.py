"""Docstrings for the site: plain text, as the house writes it, to what Sphinx reads."""

import re

ITEM = re.compile(r"([-*] |\d+\. )")
# "W: (out, in) float32" or "Returns ...": a line of its own, where the line before has come to an end
ARGUMENT = re.compile(r"[A-Za-z_][\w, ./*]{0,30}: |Returns |Raises ")


def restructured(text: str) -> str:
    """reStructuredText that shows the text as it is meant.

    Examples (>>>) and blocks that are indented by four become blocks of code, the lines of arguments and of lists stay
    lines, `code` is code, and no other sign means anything.
    """
    return "\n\n".join(_block(block) for block in _blocks(text))


def _blocks(text: str) -> list[str]:
    """The paragraphs; one that is code, by its four spaces, together with those that go on with it."""
    found: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        if found and _is_code(found[-1]) and _is_code(block):
            found[-1] += "\n\n" + block
        else:
            found.append(block)
    return found


def _is_code(block: str) -> bool:
    return block.startswith("    ") and not ITEM.match(block.lstrip())


def _block(block: str) -> str:
    before, sign, example = block.partition(">>> ")
    if sign and (not before.strip() or before.rstrip(" ").endswith("\n")):
        text = _paragraph(before) + "\n\n" if before.strip() else ""
        return text + _code("pycon", sign + example)
    return _code("text", block) if _is_code(block) else _paragraph(block)


def _code(language: str, block: str) -> str:
    return f".. code-block:: {language}\n\n" + "\n".join("    " + line for line in block.splitlines())


def _paragraph(block: str) -> str:
    """Parts, each a paragraph, an item of a list or a line `name: what it is`, with the lines that go on with it."""
    parts: list[str] = []
    for line in block.splitlines():
        words = line.strip()
        if not parts or ITEM.match(words) or ARGUMENT.match(words) and parts[-1][-1:] in ".:;)]":
            parts.append(words)
        else:
            parts[-1] += " " + words
    lines: list[str] = []
    for i, part in enumerate(parts):
        item = ITEM.match(part)
        if item:
            shown = (item[1] if item[1][0].isdigit() else "- ") + _escaped(part[item.end():])
        elif len(parts) > 1 and not any(ITEM.match(one) for one in parts):
            shown = "| " + _escaped(part)  # a line of its own
        else:
            shown = _escaped(part)
        if i and bool(item) != bool(ITEM.match(parts[i - 1])):
            lines.append("")
        lines.append(shown)
    return "\n".join(lines)


def _escaped(line: str) -> str:
    """The line with `code` as code, and every other sign as itself."""
    parts = re.split(r"`([^`]+)`", line)
    for i, part in enumerate(parts):
        parts[i] = f"``{part}``" if i % 2 else re.sub(r"([\\*_|`])", r"\\\1", part)
        if i % 2:  # where code meets a letter, an empty space that is not shown
            parts[i] = ("\\ " if parts[i - 1][-1:].strip() else "") + parts[i] + "\\ " * bool(parts[i + 1][:1].strip())
    text = "".join(parts)
    return "\\" + text if text[:1] in "-+=.:~^#\"'>" and text[:1] else text
