"""The demo as its user sees it: a process, what it prints, and what it leaves behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import psutil
import pytest

from examples.demo.contenders import CARPOOL, CONTENDERS
from examples.demo.measure import Result, rotated
from examples.demo.report import failures
from examples.demo.site import THREADS, WORKERS
from support.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
DEMO = [sys.executable, "-m", "examples.demo"]
SECONDS = "0.3"
SHORT = ["--rounds", "1", "--seconds", SECONDS]
PATIENCE = 120  # seconds; only a demo that hangs takes them


@pytest.fixture(scope="module")
def temporary():
    """A folder for all that the demo makes, which the server's own user can reach too."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def environment(temporary):
    return os.environ | {"TMPDIR": str(temporary)}


def run(temporary, *command, **more):
    """Run a command to its end; it must leave nothing behind."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(temporary) | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert_nothing_left(temporary)
    return done


def assert_nothing_left(temporary):
    assert belonging_to(temporary) == []
    assert list(temporary.iterdir()) == []


def belonging_to(temporary):
    """Return the processes that were told of the folder, by argument or environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            told = [*process.cmdline(), process.environ().get("TMPDIR", "")]
            if str(temporary) in " ".join(told):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def report(temporary):
    done = run(temporary, *DEMO, *SHORT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module", params=["One product", "An order"])
def table(request, report):
    """The rows of one table: {contender: [figures, as text]}."""
    body = report.partition(f"\n{request.param}")[2].split("\n\n")[1]
    rows = [re.split(r"\s{2,}", line) for line in body.splitlines()[2:]]
    return {title: figures for title, *figures in rows}


def number(text):
    return float(text.replace(",", ""))


def test_there_is_a_table_of_three_for_each_kind_of_request(table):
    assert list(table) == ["stock Django", "persistent", "carpool"]
    for rate, spread, *figures in table.values():
        assert [number(end) for end in spread.split(" to ")] == [number(rate)] * 2  # of one round
        assert len(figures) == 6
        assert all(number(figure) > 0 for figure in figures)


def test_stock_django_opens_a_connection_for_every_request(table):
    *_, requests, _statements, connections = table["stock Django"]
    assert requests == connections


def test_carpool_opens_no_more_connections_than_there_are_threads(table):
    assert 1 <= number(table["carpool"][-1]) <= WORKERS * THREADS


@pytest.mark.parametrize("table", ["One product"], indirect=True)
def test_a_page_of_one_query_is_one_statement_with_carpool(table):
    assert table["carpool"][-2] == "1"


@pytest.mark.parametrize("table", ["An order"], indirect=True)
def test_an_order_is_its_eight_statements_with_carpool(table):
    assert table["carpool"][-2] == "8"


def test_the_end_shows_the_pools_as_they_were_under_load(report):
    _, shown, rest = report.partition("What `carpool status` said")
    assert shown
    status = rest.partition(f"\n\n1 x {SECONDS} s")[0]
    assert "database shop_order_carpool, alias default, mode session" in status
    assert re.search(r"^  +acquires +[1-9]", status, re.MULTILINE)
    assert 1 <= status.count("gunicorn") <= WORKERS


def test_without_a_terminal_every_step_is_a_line(report):
    assert "\r" not in report
    steps = re.findall(r"^\[ ?(\d+)/(\d+)\] ", report, re.MULTILINE)
    assert steps == [(str(step), "12") for step in range(1, 13)]


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "Starting PostgreSQL"),
        (signal.SIGTERM, "Filling the shop"),
        (signal.SIGTERM, "persistent starts and warms up"),
        (signal.SIGINT, "carpool, round 1"),
    ],
)
def test_a_signal_leaves_no_process_and_no_folder(temporary, number, stage):
    status, output = interrupt(temporary, number, stage, *SHORT)
    assert status == 128 + number
    assert f"{number.name}: everything is stopped and removed." in output
    assert_nothing_left(temporary)


def interrupt(temporary, number, stage, *options, before=lambda _: None):
    """Start the demo and send it a signal when it says that it has come to a stage.

    Before that `before` is called with what it has printed.
    """
    with subprocess.Popen(
        [*DEMO, *options],
        cwd=ROOT,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        output = ""
        while stage not in output:
            output += (line := demo.stdout.readline())
            assert line, output
        assert len(belonging_to(temporary)) >= 1
        try:
            before(output)
        finally:
            demo.send_signal(number)
        output += demo.communicate(timeout=PATIENCE)[0]
    return demo.returncode, output


def test_the_site_stays_up_until_ctrl_c_and_shows_its_pools(temporary):
    site = ("--site", "--port", "0")
    status, output = interrupt(temporary, signal.SIGINT, "End with", *site, before=visit)
    assert status == 0
    assert re.search(r"The shop is at +http://127\.0\.0\.1:\d+/\n", output)
    assert_nothing_left(temporary)


def visit(output):
    """Follow the directions of a site that is up; all tell of the same pool."""
    [page] = re.findall(r"Its pools are at +(\S+)\n", output)
    [metrics] = re.findall(r"For Prometheus +(\S+)\n", output)
    [(user, password)] = re.findall(r"Name and password +(\S+), (\S{12})\n", output)
    top, status = re.findall(r"^.{20}(CARPOOL_DIR=.*)$", output, re.MULTILINE)
    browser = build_opener(HTTPCookieProcessor())
    form = read(browser, page)
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    fields = {"username": user, "password": password, "csrfmiddlewaretoken": token}
    login = page.partition("carpool_web")[0] + "login/?next=/"
    read(browser, login, urlencode(fields).encode())
    name = json.loads(read(browser, f"{page}figures/"))["pools"][0]["name"]
    assert "/shop" in name
    assert f'carpool_acquires_total{{pool="{name}"}}' in read(browser, metrics)
    for command in (top, status):
        assert_prints(command, name)


def read(browser, url, data=None):
    with browser.open(url, data, PATIENCE) as answer:
        return answer.read().decode()


def assert_prints(command, text):
    """Type a command in a new terminal, so to speak; end it when it has printed the text."""
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    with subprocess.Popen(
        command,
        shell=True,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as typed:
        patience = threading.Timer(PATIENCE, end, [typed])
        patience.start()
        try:
            printed = ""
            while text not in printed:
                printed += (line := typed.stdout.readline())
                assert line, printed
        finally:
            patience.cancel()
            end(typed)


def end(program):
    """End a program and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)


def test_a_killed_demo_is_cleaned_up_by_its_guards(temporary):
    # They hold the other end of the pipe: its end means that they are done.
    status, _ = interrupt(temporary, signal.SIGKILL, "End with", "--site", "--port", "0")
    assert status == -signal.SIGKILL
    assert_nothing_left(temporary)


def test_a_port_that_is_taken_is_named(temporary):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(temporary, *DEMO, "--site", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1" in done.stdout
    assert "take another --port" in done.stdout


def test_a_server_that_does_not_start_is_shown_with_its_log(temporary):
    done = changed_demo(temporary, "main.SERVER['nonsense'] = 1")
    assert done.returncode == 1
    assert "The demo failed: PostgreSQL did not start" in done.stdout
    assert 'unrecognized configuration parameter "nonsense"' in done.stdout


def test_a_shop_that_does_not_come_up_is_shown_with_its_log(temporary):
    done = run(temporary, *DEMO, *SHORT, GUNICORN_CMD_ARGS="--config=nonsense.py")
    assert done.returncode == 1
    assert "The demo failed: the shop did not come up" in done.stdout
    assert "'nonsense.py' doesn't exist" in done.stdout


def test_wrong_answers_are_counted_and_fail_the_demo(temporary):
    done = changed_demo(temporary, LOSE_HALF_OF_THE_PRODUCTS)
    assert done.returncode == 1
    assert "The demo failed: not every request was answered as it should." in done.stdout
    for contender in CONTENDERS:
        assert re.search(
            rf"^{contender.title}: \d+ of [\d,]+ requests failed: 404 x \d+$",
            done.stdout,
            re.MULTILINE,
        )


LOSE_HALF_OF_THE_PRODUCTS = """
def compare(server, *rest, compare=main.compare):
    server.query("DELETE FROM shop_orderline WHERE product_id > 50", dbname="shop")
    server.query("DELETE FROM shop_product WHERE id > 50", dbname="shop")
    server.wait_for_sessions(0, dbname="shop")
    return compare(server, *rest)

main.compare = compare
del main.WORKLOADS["order"]
"""


def changed_demo(temporary, change):
    """Run the demo after a change of its main module."""
    code = (
        f"import sys\nfrom examples.demo import __main__ as main\n{change}\nsys.exit(main.main())"
    )
    return run(temporary, sys.executable, "-c", code, *SHORT)


@pytest.mark.parametrize("wrong", ["--rounds=0", "--seconds=-1", "--rounds=x"])
def test_options_are_checked(temporary, wrong):
    done = run(temporary, *DEMO, wrong)
    assert done.returncode == 2
    assert "invalid positive" in done.stdout


def test_failures_are_listed_with_the_end_of_the_log():
    good = Result(CARPOOL, statuses=Counter({"200": 3, "201": 1}))
    bad = Result(CARPOOL, "the log", statuses=Counter({"200": 3, "500": 2, "TimeoutError": 1}))
    assert failures([good, bad]) == [
        "carpool: 3 of 6 requests failed: 500 x 2, TimeoutError x 1\nThe end of its log:\nthe log"
    ]


def test_on_a_terminal_the_bar_is_one_line_that_goes_away(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    progress = Progress(2)
    progress.step("first")
    progress.step("second")
    progress.clear()
    bars = [f"\r\x1b[K[{'.' * 24}] first", f"\r\x1b[K[{'#' * 12}{'.' * 12}] second"]
    assert capsys.readouterr().out == "".join([*bars, "\r\x1b[K"])


def test_each_contender_is_first_in_its_turn():
    assert [rotated(["a", "b", "c"], n) for n in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_the_shop_passes_its_own_tests_with_carpool(postgres):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.shop", "test", "examples.shop"],
        cwd=ROOT,
        env=os.environ | CARPOOL.environment(postgres.django(NAME="shop")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Ran 10 tests in .*\n\nOK\n", done.stderr)
