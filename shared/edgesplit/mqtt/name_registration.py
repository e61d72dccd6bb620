"""Registration under a name that only one program may hold: claim, answer, refusal.

Owns: who holds a name when two programs ask for it. Its rule: the first serves on, the second is refused with a
reason; a holder that answers no claim any more is taken to be gone. Pure: no clock, no MQTT. Not here: the topics,
and what a program does that was refused (`mqtt/bus.py` and the daemons).

A program claims its name on a topic of its own (not retained). Hearing its own claim shows that the broker passes its
messages on; whoever holds the name answers by publishing its registration again. So a name is free when the retained
registration says offline or is absent, or when nobody answered for `ANSWER_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

__all__ = ["ANSWER_S", "ECHO_S", "Claim", "ClaimState", "Presence", "Registration"]

ANSWER_S = 2.5
"""A living holder answers a claim within this. [s]"""
REPEAT_S = 0.3
"""Pause between claims that were not heard; a broker may pass on late what follows a subscription. [s]"""
ECHO_S = 5.0
"""An own message that has not come back after this will not: access rights, usually. [s]"""
INSISTS = 3
INSISTS_S = 10.0
"""A registration that comes so often, with no longer pauses, is that of a program and no single forgery. [s]"""
RETRY_S = 15.0
"""Pause between claims of a program that was refused: the holder may have gone without a word. [s]"""


class Claim(msgspec.Struct, frozen=True):
    """Says that a program wants a name.

    Attributes:
        instance: Drawn at each start of the program.
        standby: The machine of a program that means to wait until the name is free; empty: it does not.
    """

    instance: str
    standby: str = ""


class Presence(msgspec.Struct, frozen=True):
    """What every registration says, of a node or of the controller.

    Attributes:
        advertise: Where a node can be reached, for the sentence that refuses another of its name.
        artifacts: The same of a controller.
    """

    online: bool
    instance: str
    advertise: str = ""
    artifacts: str = ""

    @property
    def where(self) -> str:
        """Its address, or nothing."""
        address = self.advertise or self.artifacts
        return f" (at {address})" if address else ""


ClaimState = Literal["away", "claiming", "held", "refused"]


@dataclass
class Registration:
    """One program's claim to a name, over connections that come and go.

    Args:
        instance: This program's; others' claims and registrations carry other ones.

    Attributes:
        standing: `away` without a connection.
        rival: Who holds the name, as far as was heard.
        deaf: Own messages do not come back though the broker confirmed everything.
    """

    instance: str
    standing: ClaimState = "away"
    rival: Presence | None = None
    deaf: bool = False
    _since_s: float = field(default=0.0, repr=False)
    _sent_at_s: float = field(default=0.0, repr=False)
    _heard_at_s: float | None = field(default=None, repr=False)
    _seen: bool = field(default=False, repr=False)
    _challenger: str = field(default="", repr=False)
    _challenges: int = field(default=0, repr=False)
    _challenged_s: float = field(default=float("-inf"), repr=False)

    @property
    def waiting(self) -> bool:
        """Whether something is still to come, so that time has to be told."""
        return self.standing in {"claiming", "refused"} or (
            self.standing == "held" and not self._seen and not self.deaf
        )

    def connected(self, now_s: float) -> None:
        """The broker confirmed all subscriptions: the name is claimed anew."""
        self.standing, self.deaf, self._seen = "claiming", False, False
        self._since_s, self._heard_at_s, self._sent_at_s = now_s, None, float("-inf")

    def disconnected(self) -> None:
        """What the broker knows of this program is open again."""
        self.standing, self.rival, self.deaf = "away", None, False

    def claim_due(self, now_s: float) -> bool:
        """Whether a claim is to be sent now; counts as sent then. Also settles what time settles."""
        if self.standing == "held":
            self.deaf = not self._seen and now_s - self._since_s >= ECHO_S
        elif self.standing == "refused" and now_s - self._since_s >= RETRY_S:
            self.connected(now_s)
        elif self.standing == "claiming" and self._heard_at_s is not None:
            if self.rival is not None and now_s - self._heard_at_s >= ANSWER_S:
                self._hold(now_s)  # its registration is all that is left of it
            return False
        if self.standing != "claiming":
            return False
        self.deaf = now_s - self._since_s >= ECHO_S
        if now_s - self._sent_at_s < (ECHO_S if self.deaf else REPEAT_S):
            return False
        self._sent_at_s = now_s
        return True

    def heard_claim(self, claim: Claim, now_s: float) -> bool:
        """A claim came; True where this program holds the name and has to answer by registering again."""
        if claim.instance != self.instance:
            return self.standing == "held"
        if self.standing == "claiming" and self._heard_at_s is None:
            self._heard_at_s, self.deaf = now_s, False
            if self.rival is None:
                self._hold(now_s)
        return False

    def heard_presence(self, presence: Presence | None, *, retained: bool, now_s: float) -> None:
        """A registration under the name came; `retained`: kept by the broker from before."""
        if presence is not None and presence.instance == self.instance:
            if self.standing == "held":
                self._seen, self.deaf = True, False
            return
        alive = presence is not None and presence.online
        if self.standing == "away":
            self.rival = presence if alive else None  # the retained one comes before the last subscription is confirmed
        elif self.standing == "claiming":
            self.rival = presence if alive else None
            if alive and not retained:
                self._refuse(now_s)
            elif not alive and self._heard_at_s is not None:
                self._hold(now_s)
        elif self.standing == "refused" and not alive:
            self.rival = None
            self.connected(now_s)
        elif self.standing == "held" and presence is not None and alive and not retained:
            self._decide(presence, now_s)

    def _decide(self, other: Presence, now_s: float) -> None:
        """Both held the name while the broker was away from one of them: an order that both know decides.

        Somebody who only publishes a registration is not believed: a program that holds the name says so again
        whenever this one did.
        """
        if other.instance != self._challenger or now_s - self._challenged_s > INSISTS_S:
            self._challenges = 0
        self._challenger, self._challenged_s = other.instance, now_s
        self._challenges += 1
        if self._challenges < INSISTS:
            return
        if other.instance < self.instance:
            self.rival = other
            self._refuse(now_s)

    def _hold(self, now_s: float) -> None:
        self.standing, self.rival, self._since_s = "held", None, now_s

    def _refuse(self, now_s: float) -> None:
        self.standing, self.deaf, self._since_s = "refused", False, now_s
