"""Who asks the broker for much and reads nothing holds up nobody, and is answered all the same."""

import os
import socket

from carpool import __version__
from carpool.host import control, start
from tests.host.brokers import own_place
from tests.host.hosts import SOON
from tests.probing import STUCK

STATUS = {"version": __version__, "want": "status"}
MANY = 5000


def test_a_caller_that_does_not_read_holds_up_nobody():
    with (
        own_place() as place,
        start.connect(place, 60, STUCK),
        socket.socket(socket.AF_UNIX) as mute,
    ):
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        mute.connect(os.fspath(place.control))
        mute.setblocking(False)
        questions = control.encode(STATUS) * MANY
        sent = 0
        try:
            while sent < len(questions):
                sent += mute.send(questions[sent:])
        except BlockingIOError:  # the broker reads no more of one that does not listen
            pass
        assert control.ask(place, STATUS, SOON)["ok"]
        mute.settimeout(STUCK)
        lines, answers = control.Lines(control.ANSWER_LIMIT), []
        asked = sent // len(control.encode(STATUS))
        while len(answers) < asked:
            answers += lines.receive(mute.recv(65536))
        assert all(each["ok"] for each in answers)


def test_a_question_at_which_the_broker_fails_is_answered():
    """Else who asked it would wait until its patience ends, and hear of nothing but that."""
    with own_place() as place, start.connect(place, 60, STUCK):
        told = control.ask(place, {"version": __version__, "want": "resize", "pool": []}, STUCK)
        assert "TypeError" in told["error"]["args"][0]
        assert control.ask(place, STATUS, STUCK)["ok"]
