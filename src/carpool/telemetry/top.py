"""`carpool top`: the pools of all processes, live in the terminal, with keys for orders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import App
from textual.binding import Binding
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.markup import escape
from textual.widgets import DataTable, Footer, Static

from carpool.errors import PoolError
from carpool.telemetry import progress, status, top_panels
from carpool.telemetry.progress import Order, Undone
from carpool.telemetry.text import printable
from carpool.telemetry.top_dialogs import Confirm, Help, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from carpool.telemetry.figures import Report, Total
    from carpool.telemetry.progress import Verb

    # Called with a verb, a pool's name and sizes; returns the order's number.
    Give = Callable[[Verb, str, tuple[int, int] | None], int]

PERIOD = 1.0  # seconds
FRAME = 4  # columns: a panel's border and its scroll bar
STYLES = {"PAUSED": "bold yellow", "AWAY": "bold red", "STALE": "bold red", "waits": "yellow"}
PANELS = {"processes": "1 processes", "times": "2 times", "leases": "3 leases"}
DRAWN = r"[▁-█]+"
QUESTIONS = {
    "drain": "Drain {}?\n\nAll its connections are replaced: idle ones now, others as they come"
    " back. Nobody has to wait for more than a new connection.",
    "pause": "Pause {}?\n\nIn all processes, acquires wait from now on, and fail after the pool's"
    " timeout of {:g} s, until you resume it.",
}
CSS = """
#head { height: 1; padding: 0 1; background: $panel; }
#pools { height: auto; max-height: 30%; }
#trends { height: 4; padding: 0 1; border-top: solid $primary; border-title-color: $text; }
#message { height: auto; max-height: 2; padding: 0 1; background: $panel; }
#panels { height: 1fr; }
.panel { height: 1fr; border: round $primary; border-title-color: $text; display: none; }
.panel:focus { border: round $accent; }
.panel.chosen { display: block; }
.-wide.-tall .panel { display: block; }
.-wide.-tall #panels { layout: grid; grid-size: 2 2; grid-columns: 3fr 2fr; grid-rows: 1fr 1fr; }
.-wide.-tall #times { row-span: 2; }
"""


class Top(App[None]):
    """Looks each second, by a function that may take a while, and gives orders by another one.

    Both are called in threads, and may raise OSError, ValueError or `carpool.PoolError`.
    """

    TITLE = "carpool"
    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 - as Textual types it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]  # noqa: RUF012 - likewise
    BINDINGS: ClassVar[list[BindingType]] = [
        ("d", "confirm('drain')", "Drain"),
        ("p", "confirm('pause')", "Pause"),
        ("r", "order('resume')", "Resume"),
        ("s", "resize", "Resize"),
        Binding("1", "panel('processes')", "Processes", show=False),
        Binding("2", "panel('times')", "Times", show=False),
        Binding("3", "panel('leases')", "Leases", show=False),
        ("question_mark", "help", "Help"),
        ("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, look: Callable[[], Report], give: Give) -> None:
        super().__init__()
        self._look, self._give = look, give
        self._report: Report | None = None
        self._is_blind = False  # the last look was in vain
        self._chosen = ""  # the name of a pool
        self._order: Order | None = None  # the last one, as long as it is under way

    # ------------------------------------------------------------------ showing

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static("looking ...", id="head", markup=False)
        yield DataTable(id="pools", cursor_type="row")
        yield Static(id="trends", markup=False)
        with Container(id="panels"):
            yield DataTable(id="processes", cursor_type="none", classes="panel chosen")
            with VerticalScroll(id="times", classes="panel"):
                yield Static(markup=False)
            with VerticalScroll(id="leases", classes="panel"):
                yield Static(markup=False)
        yield Static(id="message", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        for name, columns in (("pools", top_panels.POOLS), ("processes", top_panels.PROCESSES)):
            for column in columns:
                self._table(name).add_column(column, key=column)
        self.say("")
        self._table("pools").focus()
        self._watch()

    @work
    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Show what there is now. What was seen last stays if that cannot be known."""
        try:
            report = await asyncio.to_thread(self._look)
        except (PoolError, OSError, ValueError) as error:
            self.say(f"cannot look: {error}")
            self._is_blind = True
            return
        if self._is_blind:
            self.say("")
        self._is_blind = False
        self._report = report
        self.query_one("#head", Static).update(top_panels.headline(report))
        self._show_pools(report)
        self._show_chosen()
        self._follow()

    def _show_pools(self, report: Report) -> None:
        names = [pool["name"] for pool in report["pools"]]
        table = self._table("pools")
        row = table.cursor_row
        if self._chosen not in names:
            self._chosen = names[min(row, len(names) - 1)] if names else ""
        rows = {pool["name"]: top_panels.pool_cells(pool, report["at"]) for pool in report["pools"]}
        _fill(table, rows, top_panels.POOLS)
        if names:
            table.move_cursor(row=names.index(self._chosen), animate=False)

    @on(DataTable.RowHighlighted, "#pools")
    def _choose(self, event: DataTable.RowHighlighted) -> None:
        """Show another pool; a table that is filled anew highlights its first row for a moment."""
        table = self._table("pools")
        if event.cursor_row == table.cursor_row and event.row_key.value:
            self._chosen = event.row_key.value
            self._show_chosen()

    def on_resize(self) -> None:
        """Draw what depends on the size, once there is a layout for it."""
        self.call_after_refresh(self._show_chosen)

    def _name_panels(self) -> None:
        """Title the panels; where only one is shown, its title names the others."""
        for name, title in PANELS.items():
            panel = self.query_one(f"#{name}")
            panel.border_title = title if self._has_room() else "  ".join(PANELS.values())

    def _has_room(self) -> bool:
        classes = self.screen.classes
        return "-wide" in classes and "-tall" in classes

    def _show_chosen(self) -> None:
        self._name_panels()
        pool = self._pool()
        trends, times, leases = (
            self.query_one("#trends", Static),
            self._text("times"),
            self._text("leases"),
        )
        trends.border_title = escape(printable(self._chosen))
        width = (self.query_one("#times").outer_size.width or self.size.width) - FRAME
        trends.update(_drawn(top_panels.trends(pool, self.size.width) if pool else ()))
        times.update(_drawn(top_panels.times(pool, width) if pool else ()))
        leases.update("\n".join(top_panels.leases(pool)) if pool else "")
        parts = sorted(pool["parts"], key=status.importance) if pool else []
        rows = {str(part["pid"]): top_panels.process_cells(part) for part in parts}
        _fill(self._table("processes"), rows, top_panels.PROCESSES)

    def _pool(self) -> Total | None:
        """Return the pool that is chosen, as it was seen last."""
        pools = self._report["pools"] if self._report else []
        return next((pool for pool in pools if pool["name"] == self._chosen), None)

    def _table(self, name: str) -> DataTable[Text]:
        return self.query_one(f"#{name}", DataTable)

    def _text(self, panel: str) -> Static:
        return self.query_one(f"#{panel} Static", Static)

    def say(self, text: str) -> None:
        """Say something at the bottom, until there is something else to say."""
        message = self.query_one("#message", Static)
        message.update(printable(text))
        message.display = bool(text)

    def action_panel(self, name: str) -> None:
        """Show one of the panels, where there is no room for all."""
        for panel in self.query(".panel"):
            panel.set_class(panel.id == name, "chosen")
        self._show_chosen()

    def action_help(self) -> None:
        """Tell the keys."""
        self.push_screen(Help())

    # ----------------------------------------------------------------- ordering

    def action_confirm(self, verb: Verb) -> None:
        """Ask before an order that others notice."""
        if pool := self._wanted():
            question = QUESTIONS[verb].format(printable(pool["name"]), pool["timeout"])
            self.push_screen(
                Confirm(question), lambda yes: self._start_order(pool, verb) if yes else None
            )

    def action_resize(self) -> None:
        """Ask for the sizes first."""
        if pool := self._wanted():
            dialog = Sizes(printable(pool["name"]), pool["min_size"], pool["max_size"])
            self.push_screen(
                dialog, lambda sizes: self._start_order(pool, "resize", sizes) if sizes else None
            )

    def action_order(self, verb: Verb) -> None:
        """Give an order at once."""
        if pool := self._wanted():
            self._start_order(pool, verb)

    def _wanted(self) -> Total | None:
        pool = self._pool()
        if pool is None:
            self.say("There is no pool to give an order to")
        return pool

    def _start_order(self, pool: Total, verb: Verb, sizes: tuple[int, int] | None = None) -> None:
        self.run_worker(self._give_order(pool, verb, sizes))

    async def _give_order(self, pool: Total, verb: Verb, sizes: tuple[int, int] | None) -> None:
        name = pool["name"]
        try:
            number = await asyncio.to_thread(self._give, verb, name, sizes)
        except (PoolError, OSError, ValueError) as error:
            self.say(f"cannot {verb} {name}: {error}")
            return
        self._order = Order(verb, name, number, sizes)
        self.say(f"{verb} {name}: order given")

    def _follow(self) -> None:
        """Say how far the last order has come."""
        if self._order is None or self._report is None:
            return
        order = self._order
        pools = [pool for pool in self._report["pools"] if pool["name"] == order.pool]
        try:
            left = progress.waits_for(order, pools[0]) if pools else ""
            done = progress.outcome(order, pools[0]) if pools else f"{order.pool} is gone"
        except Undone as error:
            left, done = "", str(error)
        self.say(f"{order.verb} {order.pool}: {left}" if left else done)
        if not left:
            self._order = None


def _drawn(lines: Iterable[str]) -> Content:
    return Content("\n".join(lines)).highlight_regex(DRAWN, style="$primary")


def _fill(table: DataTable[Text], rows: dict[str, tuple[str, ...]], columns: Sequence[str]) -> None:
    """Show rows by their keys; one that stays is changed, so that cursor and scrolling stay."""
    if [row.value for row in table.rows] == [*rows]:
        for key, cells in rows.items():
            for column, cell in zip(columns, cells, strict=True):
                table.update_cell(key, column, _cell(column, cell), update_width=True)
        return
    table.clear()
    for key, cells in rows.items():
        table.add_row(*_cells(columns, cells), key=key)


def _cells(columns: Sequence[str], cells: Iterable[str]) -> list[Text]:
    return [_cell(column, cell) for column, cell in zip(columns, cells, strict=True)]


def _cell(column: str, text: str) -> Text:
    """Return a cell, never read as markup; numbers stand on the right."""
    is_number = column not in ("POOL", "STATE", "COMMAND")
    return Text(text, style=STYLES.get(text, ""), justify="right" if is_number else "left")
