"""The questions that `carpool top` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from carpool.errors import OptionsError
from carpool.telemetry import progress

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

HELP = """\
Up, Down     choose a pool; Tab goes on to its processes, times, leases
1, 2, 3      show processes, times or leases, where not all of them fit

d  drain     replace all connections: idle ones now, others as they come back
p  pause     let acquires wait, until you resume
r  resume    let acquires go on
s  resize    give the pool other sizes, until its processes start anew

q  quit      orders that were given stand
"""


class Dialog(ModalScreen[object]):
    """Something to read or answer; Escape ends it without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Back")]
    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        padding: 1 2; border: round $primary; background: $surface;
    }
    Dialog .hint { color: $text-muted; margin-top: 1; }
    Dialog .wrong { color: $text-error; }
    """


class Help(Dialog):
    """The keys; any of them ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [("q,question_mark,enter,space", "dismiss", "Back")]

    def compose(self) -> ComposeResult:
        """Show them."""
        with Vertical():
            yield Static(HELP, markup=False)
            yield Label("Esc: back", classes="hint")


class Confirm(Dialog):
    """A question; answers True or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y,enter", "dismiss(True)", "Yes"),
        ("n", "dismiss", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Ask it."""
        with Vertical():
            yield Static(self._question, markup=False)
            yield Label("y: yes   n: no   Esc: back", classes="hint")


class Sizes(Dialog):
    """Asks for a pool's sizes; answers a tuple of both or nothing."""

    def __init__(self, pool: str, least: int, most: int) -> None:
        super().__init__()
        self._pool, self._before = pool, (least, most)

    def compose(self) -> ComposeResult:
        """Ask, with the present sizes to begin with."""
        least, most = map(str, self._before)
        with Vertical():
            yield Static(f"Sizes of {self._pool}, in each process", markup=False)
            yield Label("min_size: connections that are kept open", classes="hint")
            yield Input(least, id="min", type="integer")
            yield Label("max_size: most connections", classes="hint")
            yield Input(most, id="max", type="integer")
            yield Static("", classes="wrong", markup=False)
            yield Label("Enter: resize   Tab: the other size   Esc: back", classes="hint")

    def on_input_submitted(self) -> None:
        """Answer, if the sizes can be."""
        try:
            given = progress.sizes(
                *(self.query_one(f"#{each}", Input).value for each in ("min", "max"))
            )
        except OptionsError as error:
            self.query_one(".wrong", Static).update(str(error))
        else:
            self.dismiss(given)
