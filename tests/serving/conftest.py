"""The site behind real servers, in every mode. See `promises.py` for what is asked of all."""

import pytest

pytest.register_assert_rewrite("tests.serving.promises", "tests.serving.server")

MODES = ["session", "transaction"]


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    """Each of the pool's modes in turn."""
    return request.param


@pytest.fixture(scope="module")
def run_kind(request, mode):
    """Call it with a class of programs and a kind: it runs in the block, in this mode."""
    from tests.serving.server import running  # noqa: PLC0415 - after its asserts are registered

    def run(program, kind):
        return running(program, kind, mode, request.getfixturevalue(kind.server))

    return run
