"""The command `decant`: the scripts of the checkout under one name, from any folder."""

import ast
import runpy
import sys
from collections.abc import Sequence

from decant.errors import UserError, exit_on_user_error, nearest
from decant.scripts import COMMANDS, script_path
from decant.study_files import ROOT


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    with exit_on_user_error():
        if not words or words[0] in ("-h", "--help"):
            sys.stdout.write(help_text())
            return
        name, *rest = words
        if name not in COMMANDS:
            raise UserError(f"no command {name!r}; {nearest(name, list(COMMANDS))}")
        script, *options = COMMANDS[name]
        sys.argv = [str(script_path(script)), *options, *rest]
        runpy.run_path(sys.argv[0], run_name="__main__")


def help_text() -> str:
    """What each command does, from the first line of its script."""
    script_path(COMMANDS["run"][0])  # raises where there is no checkout
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose(*command)}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: decant COMMAND [options]; decant COMMAND --help", "", *lines, ""])


def purpose(script: str, *options: str) -> str:
    """The first line of the script's description, and the options that the command adds."""
    if not (ROOT / script).is_file():
        return f"{script} is missing in {ROOT}"
    text = ast.get_docstring(ast.parse((ROOT / script).read_text(encoding="utf-8"))) or script
    return text.splitlines()[0] + (f" With {' '.join(options)}." if options else "")


if __name__ == "__main__":
    main()
