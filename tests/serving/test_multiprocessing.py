"""Processes by `multiprocessing`: forked, spawned, or of a server that forks.

What becomes of those forked within `atomic` is in tests/django/test_programs.py.
"""

import pytest

from tests.serving.programs import program


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def run_program(request, postgres, mode, tmp_path):
    """Run a program whose pool, in each process, has one connection; the server admits three."""
    head = f"import multiprocessing\n\nmethod = multiprocessing.get_context({request.param!r})\n"

    def run(text):
        path = tmp_path / "program.py"
        return program(postgres, mode, path, head + text, size=1, limit=3)

    return run


POOL = """
    with method.Pool(2, django.setup) as workers:
        tokens = [str(number) for number in range(40)]
        answers = dict(zip(tokens, workers.map(write, tokens, chunksize=1)))
        check(answers)
        assert os.getpid() not in {answer["process"] for answer in answers.values()}
        workers.close()
        workers.join()
"""
STATES = {
    "nothing yet": f"""
if __name__ == "__main__":
{POOL}
    check({{"mine": write("mine")}})
""",
    "a connection that is idle": f"""
if __name__ == "__main__":
    check({{"before": write("before")}})
    connection.close()
{POOL}
    check({{"mine": write("mine")}})
""",
    "a connection in use": f"""
if __name__ == "__main__":
    run("SET app.mine = 'yes'")
{POOL}
    assert run("SHOW app.mine") == [("yes",)]
    check({{"mine": write("mine")}})
""",
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_workers_of_a_parent_that_has(run_program, state):
    with run_program(state) as (_, shown):
        assert {"mine", *map(str, range(40))} <= set(shown.tokens())


LOST = """
def end(how):
    django.setup()
    begin_by_hand("lost")
    if how == "killed":
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    run("SET app.mine = 'yes'")
    for how in ("killed", "ended"):
        child = method.Process(target=end, args=[how])
        child.start()
        child.join()
        report(child.exitcode)
    assert run("SHOW app.mine") == [("yes",)]
    connection.close()
    all_at_once("after")
"""


def test_children_that_end_in_the_midst_of_a_transaction(run_program):
    with run_program(LOST) as (reports, shown):
        assert reports == [-9, 0]
        assert shown.tokens() == ["after 0"]
