"""What Oracle says of its sessions, by way of the stand-in: it answers with what a test gives."""

import pytest


@pytest.fixture
def says(server):
    """Have the server answer the question for its figures."""

    def says(rows, error=None):
        def answer(session, statement, labels, autocommit):
            if "v$session" not in statement:
                return usual(session, statement, labels, autocommit)
            return {"rows": rows, "error": error, "transaction": False}

        server.answer = answer

    usual = server.answer
    return says


@pytest.fixture
def subject(driver):
    return driver.OracleDriver(user="shop", password="secret", dsn="db/shop")


@pytest.mark.parametrize(
    ("told", "limit"), [("UNLIMITED", None), ("DEFAULT", None), (None, None), ("12", 12)]
)
def test_what_it_says(subject, server, says, told, limit):
    says([[5, 300, 40, told, 9]])
    limits = subject.limits()
    assert limits == (5, 300, 40, limit, None, 9, "", False)
    assert limits.room == (limit or 260)
    assert not server.sessions  # it has closed its own


@pytest.mark.parametrize("error", ["ORA-00942: table or view does not exist", "ORA-01031: no"])
def test_to_whom_it_says_nothing(subject, server, says, error):
    says([], error)
    assert subject.limits() is None
    assert not server.sessions


def test_another_error_is_told(subject, oracledb, server, says):
    says([], "ORA-00600: internal error")
    with pytest.raises(oracledb.DatabaseError, match="ORA-00600"):
        subject.limits()
    assert not server.sessions
