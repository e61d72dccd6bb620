"""Seam between the control plane and the agent: what arrived over MQTT, as calls.

Owns: this interface. Its rule: one method for each thing that may be said; nothing of topics, payloads or signatures. Not here: what stands
behind it (`daemon.py`), who calls it (`control.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgesplit.control.inquiry_messages import Inquiry
from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.control.profile_messages import ModelOffer, ProfileRequest
from edgesplit.control.trust_messages import ClientTokens, Revocations

__all__ = ["ControlHandler"]


class ControlHandler(Protocol):
    """What the control plane tells the agent."""

    def on_desired(self, model: str, desired: Desired | None) -> None:
        """What this node should hold of a model."""

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        """Who the source of a model is."""

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        """A model to profile."""

    def on_profile_request(self, request: ProfileRequest) -> None:
        """A model to profile once more."""

    def on_inquiry(self, inquiry: Inquiry) -> None:
        """The controller wants to know something."""

    def on_revocations(self, revocations: Revocations | None) -> None:
        """Which certificates are trusted no more."""

    def on_client_tokens(self, tokens: ClientTokens | None) -> None:
        """What clients' tokens allow."""

    def on_controller(self) -> None:
        """The controller said that it is there, perhaps at another address."""

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        """Other online nodes of the same protocol and their data-plane addresses."""

    def on_accepted(self) -> None:
        """The broker accepted a connection; nothing was said over it yet."""

    def on_broker(self, connected: bool, reason: str) -> None:
        """The broker's connection came up, or went away or cannot be had, and why."""

    def on_name_taken(self, sentence: str) -> None:
        """Another agent of this node's name is registered and answers."""
