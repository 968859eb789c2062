"""Fenced code blocks of Markdown pages, for tests that run what the pages show."""
import re

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path, language):
    return [body for tag, body in BLOCK.findall(path.read_text(encoding="utf-8")) if tag == language]


def dialogue(block):
    """(command, expected output) of each `$ …` line of a console block."""
    steps = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps
