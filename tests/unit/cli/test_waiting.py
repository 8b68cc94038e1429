# SPDX-License-Identifier: Apache-2.0
"""Who waits sees how far it is, on a terminal; a pipe gets what there is to get, and nothing else.

A script stands for the library: it tells, and goes on when a line is typed.
"""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap

import pytest
from rich.console import Console
from terminal import COLUMNS, Terminal, hides_cursor

from cipu_xdp.cli.screen import progress_line
from cipu_xdp.loader.errors import BadInput

WAITS = """
    import os, subprocess, sys
    from cipu_xdp.cli import output
    from cipu_xdp.cli.context import Settings
    from cipu_xdp.cli.main import cli
    from cipu_xdp.loader import progress
    from cipu_xdp.loader.errors import BadInput

    class Fake:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def vpc_list(self):
            {work}
            return [dict(name="blue", vni=100)]

    cli.main(sys.argv[1:], obj=Settings(opener=lambda _: Fake()))
"""
# Fails where somebody is told.
UNHEARD = 'rows = [1]; assert progress.counted(rows, "filling tables") is rows'
# Tells, waits for a line, and is done.
COUNTS = 'progress.tell("filling tables", 1000, 2000); sys.stdin.readline()'


def command(work: str, *words: str) -> list[str]:
    """`vpc list` over a library whose work is this."""
    script = textwrap.dedent(WAITS).replace("{work}", work)
    return [sys.executable, "-c", script, "vpc", "list", *words]


def test_a_terminal_shows_what_is_done_and_how_many_of_how_many() -> None:
    terminal = Terminal(command(COUNTS))
    terminal.read_until("1,000 of 2,000 0:0")
    assert "… filling tables" in terminal.written
    terminal.type("\n")
    assert terminal.end() == 0


def test_only_the_result_stays_on_a_terminal() -> None:
    terminal = Terminal(command(COUNTS))
    terminal.read_until("1,000 of 2,000")
    terminal.type("\n")
    terminal.end()
    assert [line.split() for line in terminal.left()] == [
        ["VPC", "VNI", "GATEWAY", "MAC", "SUBNETS", "ENIS", "ROUTES"],
        ["blue", "100", *"----"],
    ]  # fmt: skip
    assert not hides_cursor(terminal.written)


def test_a_result_in_a_pipe_has_the_line_on_the_terminal_beside_it() -> None:
    terminal = Terminal(command(COUNTS), stdout=subprocess.PIPE)
    terminal.read_until("1,000 of 2,000")
    terminal.type("\n")
    terminal.end()
    assert terminal.left() == []
    assert terminal.process.stdout is not None
    assert b"filling" not in terminal.process.stdout.read()


def test_what_is_printed_meanwhile_takes_the_lines_place() -> None:
    work = f'{COUNTS}; output.say("one of them"); {COUNTS.replace("1000", "1500")}'
    terminal = Terminal(command(work))
    terminal.read_until("1,000 of 2,000")
    terminal.type("\n")
    terminal.read_until("1,500 of 2,000")
    assert next(line.strip() for line in terminal.left()) == "one of them"
    terminal.type("\n")
    terminal.end()
    assert len(terminal.left()) == 3


def test_an_error_stands_alone() -> None:
    terminal = Terminal(command(f'{COUNTS}; raise BadInput("do it", "it is not so", "Try.")'))
    terminal.read_until("1,000 of 2,000")
    terminal.type("\n")
    assert terminal.end() == BadInput.exit_code
    assert terminal.left() == ["cipu-xdp: cannot do it: it is not so. Try."]


def test_an_interrupt_leaves_the_terminal_clean() -> None:
    terminal = Terminal(command(COUNTS))
    terminal.read_until("1,000 of 2,000")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.left() == []
    assert not hides_cursor(terminal.written)


def test_who_is_killed_leaves_a_cursor() -> None:
    terminal = Terminal(command(COUNTS))
    terminal.read_until("1,000 of 2,000")
    terminal.process.kill()
    terminal.end()
    assert not hides_cursor(terminal.written)


def test_the_line_is_drawn_while_messages_of_a_compiler_are_caught() -> None:
    caught = "keep = os.dup(2); os.dup2(os.open('/dev/null', os.O_WRONLY), 2)"
    terminal = Terminal(command(f"{caught}; {COUNTS}; os.dup2(keep, 2)"))
    terminal.read_until("1,000 of 2,000")
    terminal.type("\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_pipe_gets_the_result_alone(words: tuple[str, ...]) -> None:
    work = f"{UNHEARD}; {COUNTS}"
    done = subprocess.run(
        command(work, *words), capture_output=True, text=True, check=True, input="\n"
    )
    assert done.stderr == ""
    assert "filling" not in done.stdout


def test_json_is_quiet_on_a_terminal() -> None:
    work = f"{UNHEARD}; {COUNTS}"
    terminal = Terminal(command(work, "--json"), stdout=subprocess.PIPE)
    terminal.type("\n")
    assert terminal.end() == 0
    assert terminal.written == ""


def test_a_terminal_that_cannot_erase_gets_a_line_for_each_step() -> None:
    tells = "; ".join(f'progress.tell("{what}", {n}, 9)' for what in ("filling", "trying")
                      for n in (1, 2))  # fmt: skip
    terminal = Terminal(command(tells), term="dumb", stdout=subprocess.PIPE)
    terminal.end()
    assert terminal.written == "... filling\r\n... trying\r\n"


def test_who_is_answered_at_once_does_not_pay_for_rich() -> None:
    work = 'progress.tell("filling tables", 1, 2)'
    check = (
        '; import atexit; atexit.register(lambda: print("rich" in sys.modules, file=sys.stderr))'
    )
    terminal = Terminal(command(work + check), stdout=subprocess.PIPE)
    terminal.end()
    assert terminal.written == "False\r\n"


def test_the_line_is_as_wide_as_the_terminal_whatever_a_shell_said_of_it() -> None:
    long = COUNTS.replace("filling tables", "filling tables" + 200 * "!")
    terminal = Terminal(command(long), env={"COLUMNS": "300", "LINES": "9"})
    terminal.read_until("1,000 of 2,000")
    assert max(map(len, terminal.left())) <= COLUMNS
    terminal.type("\n")
    terminal.end()


def test_the_line_fits_80_columns_and_loses_no_number() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(progress_line("filling the table " + "x" * 80, 900_000, 1_000_000, 75.2, 80))
    (line,) = console.export_text().splitlines()
    assert len(line.rstrip()) <= 80
    assert line.rstrip().endswith("900,000 of 1,000,000 1:15")
