"""The command line of the demo."""

import argparse
import secrets
import signal
import sys
from contextlib import contextmanager

from examples.demo import __doc__ as about
from examples.demo import report, signals
from examples.demo.contenders import CARPOOL, STOCK
from examples.demo.measure import compare, steps
from examples.demo.site import DemoError, Site, listen, manage
from examples.demo.workloads import WORKLOADS
from support.progress import Progress
from support.servers import PostgreSQL, ServerError

PIECES = 1_000_000  # of each product: enough for every order of a long run
SERVER = {
    "shared_preload_libraries": "pg_stat_statements",
    "log_connections": "",  # not to be measured with
    "TimeZone": "Etc/UTC",  # as on most servers; Django's own default is called UTC
}


def main():
    options = arguments()
    signals.install()
    sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is written
    try:
        return visit(options) if options.site else measure(options)
    except (DemoError, ServerError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except signals.Interrupted as end:
        print(f"\n{end}: everything is stopped and removed.")
        return 0 if options.site and end.number == signal.SIGINT else 128 + end.number


def arguments():
    parser = argparse.ArgumentParser(
        "python -m examples.demo", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--site", action="store_true", help="leave the shop up until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="of the shop, with --site (8000)")
    parser.add_argument("--rounds", type=positive(int), default=3, help="for each contender (3)")
    parser.add_argument("--seconds", type=positive(float), default=2.5, help="for each round (2.5)")
    return parser.parse_args()


def positive(kind):
    def parse(text):
        if (number := kind(text)) <= 0:
            raise ValueError
        return number

    parse.__name__ = f"positive {kind.__name__}"  # argparse shows it: invalid positive int value
    return parse


@contextmanager
def shop_server(say, **fill):
    """Run PostgreSQL with a filled database `shop`."""
    say("Starting PostgreSQL ...")
    with signals.whole(lambda: PostgreSQL.start(**SERVER)) as server:
        server.query("CREATE EXTENSION pg_stat_statements")
        server.create_database("shop")
        say("Filling the shop ...")
        environment = STOCK.environment(server.django(NAME="shop"))
        manage(environment, "migrate", "--verbosity=0")
        manage(environment, "fill", *(f"--{name}={value}" for name, value in fill.items()))
        server.wait_for_sessions(0, dbname="shop")
        yield server


def measure(options):
    progress = Progress(len(WORKLOADS) * steps(options.rounds))
    with shop_server(progress.say, stock=PIECES) as server:
        progress.say(report.setting(server))
        results = {
            name: compare(server, name, options.rounds, options.seconds, progress)
            for name in WORKLOADS
        }
        progress.clear()
    for name, each in results.items():
        print(f"\n{WORKLOADS[name].title}\n", *report.table(each), sep="\n")
    print("", *report.pools(each), sep="\n")
    print(f"\n{report.explanation(options.rounds, options.seconds)}")
    if failed := [line for each in results.values() for line in report.failures(each)]:
        raise DemoError("\n".join(["not every request was answered as it should.", *failed]))
    return 0


def visit(options):
    with listen(options.port) as listener, shop_server(print) as server:
        environment = CARPOOL.environment(server.django(NAME="shop"))
        password = make_admin(environment)
        with signals.whole(lambda: Site(environment, listener)) as site:
            site.wait_until_ready()
            url = f"http://127.0.0.1:{site.port}/"
            print("", *report.directions(site, url, environment, password), sep="\n")
            signal.pause()


def make_admin(environment):
    """Let `admin` into the admin; return the password."""
    password = secrets.token_urlsafe(9)
    environment = environment | {"DJANGO_SUPERUSER_PASSWORD": password}
    mail = "--email=admin@example.org"
    manage(environment, "createsuperuser", "--noinput", "--username=admin", mail)
    return password


if __name__ == "__main__":
    sys.exit(main())
