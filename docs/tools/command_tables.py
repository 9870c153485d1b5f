"""The command-line reference: every parser's options as tables."""

import argparse
from collections.abc import Container, Iterator
from pathlib import Path

from docs.tools.markdown import code, table

__all__ = ["command_reference"]


def command_reference(parser: argparse.ArgumentParser, *, omitted: Container[str] = (), level: int = 3) -> str:
    """Return a parser's usage, description and options as Markdown, those of its commands after it.

    Args:
        parser: of a program, or of one of its commands.
        omitted: destinations of options that another page has.
        level: of its heading.

    """
    parts = [f"{'#' * level} {parser.prog}"]
    if parser.description:
        parts.append(_as_markdown(parser.description))
    commands = dict(_commands(parser))
    if not commands:
        parts += [f"```\n{_usage(parser)}\n```", _options(parser, omitted)]
    if parser.epilog:
        parts.append(_as_markdown(parser.epilog))
    parts += [command_reference(command, level=level) for command in commands.values()]
    return "\n\n".join(part for part in parts if part)


def _usage(parser: argparse.ArgumentParser) -> str:
    """One line: the required arguments, and a place for the options."""
    words = [parser.prog]
    for action in _shown(parser):
        if action.option_strings and action.required:
            words.append(f"{action.option_strings[0]} {_value(action)}")
    words.append("[OPTIONS]")
    words += [_value(action) for action in _shown(parser) if not action.option_strings]
    return " ".join(words)


def _options(parser: argparse.ArgumentParser, omitted: Container[str]) -> str:
    shown = [action for action in _shown(parser) if action.dest not in omitted]
    rows = [[code(_name(action)), _help(parser, action)] for action in shown]
    return table(["option", "meaning"], rows)


def _shown(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    for action in parser._actions:  # argparse has no public list of them
        if not isinstance(action, hidden) and action.help != argparse.SUPPRESS:
            yield action


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                command.description = command.description or _sentence(helps.get(name) or "")
                yield name, command


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action)
    return " ".join(filter(None, [", ".join(action.option_strings), _value(action)]))


def _value(action: argparse.Action) -> str:
    """The placeholder for the option's value, as often as it takes one; nothing for a switch."""
    if action.nargs == 0:
        return ""
    names = action.metavar or ("|".join(map(str, action.choices)) if action.choices else _placeholder(action))
    if isinstance(names, tuple):
        return " ".join(names)
    return {"?": f"[{names}]", "+": f"{names} [{names} …]"}.get(str(action.nargs), names)


def _placeholder(action: argparse.Action) -> str:
    return action.dest.upper().replace("_", "-") if action.option_strings else action.dest


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text with argparse's %(default)s filled in, the home folder as ~."""
    values = {**vars(action), "prog": parser.prog}
    text = ((action.help or "") % values).replace(str(Path.home()), "~")
    if action.required and action.option_strings:
        text += " (required)"
    return text


def _as_markdown(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
