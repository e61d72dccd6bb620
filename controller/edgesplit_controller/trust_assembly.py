"""What a controller's trust consists of, made and connected: its signature, its fleet's authority, the renewal of its certificate.

Its rule: it only makes them; nothing is started here. Not here: the other parts (`assembly.py`), connection and registration (`service.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgesplit.control.trust_messages import CLIENT_TOKENS, REVOCATIONS
from edgesplit.daemon.certificate_renewal import CertificateRenewal
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.signed.counter_reserve import CounterReserve
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.topic_table import signed_rows
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.enrolment import RenewAnswer
from edgesplit.trust.enrolment_client import ControllerPlace
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import CONTROLLER_HOST
from edgesplit_controller.answering.trust_answers import NO_AUTHORITY
from edgesplit_controller.configuration import ControllerConfiguration
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.store import Store
from edgesplit_controller.trust.dynamic_security import ANSWERS
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = ["make_renewal", "make_security", "make_trust"]


def make_security(configuration: ControllerConfiguration, store: Store) -> MessageSecurity | None:
    """What signs the controller's decisions, in a fleet with an authority; None in one without.

    Raises:
        InvalidConfiguration: A file of its identity or of the store is missing, damaged, or another's.
    """
    section = configuration.security
    if not section.secured:
        return None
    if not section.files.complete:
        raise InvalidConfiguration(f"[security] mode is fleet, and {section.folder} holds no identity: {NO_AUTHORITY}")
    credentials = Credentials.load(section.files)
    if credentials.subject.role != "controller":
        raise InvalidConfiguration(
            f"the certificate in {section.folder} is that of {credentials.subject}, not a controller's"
        )
    reserve = CounterReserve(store.load_counter(), store.save_counter)
    return MessageSecurity(credentials, signed_rows(), reserve=reserve)


def make_trust(
    configuration: ControllerConfiguration,
    store: Store,
    bus: MessageBus,
    security: MessageSecurity | None,
    *,
    events: EventLog,
    broker_url: Callable[[], str],
) -> FleetTrust | None:
    """The fleet's authority and what follows from it, connected to the broker; None where nothing is secured.

    Args:
        configuration: Effective values.
        store: Whose health says whether it can be written.
        bus: The connection to the broker.
        security: Judges what operators ask.
        events: Where it is told.
        broker_url: Where others find the broker.

    Raises:
        InvalidConfiguration: A file is missing or holds something else.
    """
    section = configuration.security
    if security is None:
        return None
    trust = FleetTrust(
        section.trust_folder, send=bus.ask_broker, broker_url=broker_url, events=events, writing=store.health.writing
    )

    def publish() -> None:
        revocations = trust.record.revocations(trust.now_s)
        security.revoke([certificate.serial for certificate in revocations.certificates])
        bus.publish(REVOCATIONS, revocations)
        bus.publish(CLIENT_TOKENS, trust.record.client_tokens(trust.now_s))

    bus.hear_broker(ANSWERS, trust.rights.hear)
    trust.on_change.append(publish)
    publish()
    return trust


def make_renewal(
    configuration: ControllerConfiguration,
    trust: FleetTrust,
    bus: MessageBus,
    security: MessageSecurity,
    events: EventLog,
) -> CertificateRenewal:
    """Who keeps the controller's own certificate valid: it issues the next one to itself, on the loop.

    Args:
        configuration: Effective values.
        trust: The fleet's authority.
        bus: Shows the certificate to the broker.
        security: Signs with it.
        events: Where it is told.
    """
    loop = asyncio.get_running_loop()

    def ask(_place: ControllerPlace, files: TrustFiles) -> RenewAnswer:
        async def issue() -> RenewAnswer:
            return trust.renew_own(Credentials.load(files))

        return asyncio.run_coroutine_threadsafe(issue(), loop).result()

    return CertificateRenewal(
        configuration.security.files,
        lambda: f"https://{CONTROLLER_HOST}",
        tell=events.add,
        taken=(lambda _credentials: trust.contexts.renew(), security.take, lambda _credentials: bus.renew()),
        asks=configuration.security.renew,
        ask=ask,
    )
