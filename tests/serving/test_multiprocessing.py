"""Processes by `multiprocessing`: forked, spawned, or of a server that forks.

What becomes of those forked within `atomic` is in tests/django/test_programs.py.
"""

import pytest

from tests.serving.programs import program


@pytest.fixture(params=["fork", "spawn", "forkserver", "fork, shared"])
def run_program(request, postgres, mode, tmp_path):
    """Run a program whose pool, in each process, has one connection; the server admits three.

    Shared: these three are the host's.
    """
    method, _, shared = request.param.partition(", ")
    head = f"import multiprocessing\n\nmethod = multiprocessing.get_context({method!r})\n"
    sizes = {"size": 3, "share": "host"} if shared else {"size": 1}

    def run(text):
        return program(postgres, mode, tmp_path / "program.py", head + text, limit=3, **sizes)

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
    report(SIZE)
    all_at_once("after")
"""


def test_children_that_end_in_the_midst_of_a_transaction(run_program):
    with run_program(LOST) as (reports, shown):
        *codes, size = reports
        assert codes == [-9, 0]
        assert shown.tokens() == [f"after {number}" for number in range(size)]
