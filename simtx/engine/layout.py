"""The structures that Python and C share, in the order of their fields in ``loop/layout.h``; sizes are compared when a library is bound."""

from __future__ import annotations

import ctypes as c
from typing import Any, Final

TIMERS: Final = 8
STEPS: Final = 64
SHAPES: Final = 256
NODES: Final = 32
QUANTITIES: Final = 16
OUTGOING: Final = 4
IDS: Final = 8
CLIENT: Final = NODES - 1
BROKER: Final = NODES - 2
VOTES: Final = NODES - 3
REQUESTS: Final = 256  # what machines ask the vote store for
ALL_VOTES: Final = 8
PAGE: Final = 1024
AHEAD: Final = 16  # pages that are made at once, at most
RAWS: Final = ("", "uniform", "exponential", "normal")  # what C writes itself, by `Recipe.raw`
AIMS: Final = 16
PATTERNS: Final = 32  # bits of an effect: which aimed crashes may mean it

STOPPED, PYTHON, FAILED, LOOK = range(4)
NO_MEMORY: Final = 13
STOP: Final = 0  # kind of the entry at which `run` returns
(
    SEND,
    APPEND,
    SET_TIMER,
    CANCEL_TIMER,
    WORK,
    FORGET,
    COMMIT,
    ROLLBACK,
    ANSWER,
    DECIDED,
    SUSPECT,
    ALERT,
    PUBLISH,
    ACKNOWLEDGE,
    READ,
    MARK,
    TELL,
    LOG,
) = range(18)

LEARN = c.CFUNCTYPE(c.c_int32, c.c_int32, c.c_int32)
FILL = c.CFUNCTYPE(c.c_int32, c.c_int32, c.c_int64, c.c_int64, c.c_int32, c.c_int32, c.c_void_p)
PLAN = c.CFUNCTYPE(c.c_int32, c.c_int64)
ARRIVALS = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_int32)
ENDED = c.CFUNCTYPE(c.c_int32)
RECOVER = c.CFUNCTYPE(c.c_int32, c.c_int32, c.c_int32, c.POINTER(c.c_int32))
AIMED = c.CFUNCTYPE(c.c_int32, c.c_int32)
REPLAY = c.CFUNCTYPE(c.c_int32, c.c_int64, c.c_int32, c.c_int32, c.c_int32)


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Calls(c.Structure):
    """Functions of Python that C calls."""

    _fields_ = (
        ("learn", LEARN),
        ("duplicate", LEARN),
        ("fill", FILL),
        ("plan", PLAN),
        ("arrivals", ARRIVALS),
        ("ended", ENDED),
        ("link", LEARN),
        ("delivery", LEARN),
        ("courier", LEARN),
        ("recover", RECOVER),
        ("replay", REPLAY),
        ("strike", AIMED),
        ("vote", LEARN),
        ("started", AIMED),
    )


class Head(c.Structure):
    """Data that C and Python both read and write."""

    _fields_ = (
        *_fields(c.c_double, "now python_time partial_time partial_since next_sweep next_lighten grace soon"),
        *_fields(c.c_uint64, "python_key seq"),
        *_fields(
            c.c_int64,
            "asked asking ordered undecided unsettled partial alerts repeated victims timeouts first_young first_open "
            "transactions in_doubt_open locks_open unpublished redelivered lost next_parcel parcels",
        ),
        *_fields(
            c.c_int32,
            "over measuring error steps quantities writing nodes slots shared_slots hub entry jitter client_jitter "
            "remote insists again closed_workload thinking deadlocks has_duration bounds "
            "has_broker in_order linger acknowledgement wake_on_commit has_retention broker_up crashes presumes answered beat followed has_breakers threshold has_budget deadline_travels",
        ),
        *_fields(c.c_int64, "suppressed held_back handled memory memory_limit"),
        ("request", c.c_int32 * SHAPES),
        ("undo", c.c_int32 * STEPS),
        ("writes", c.c_int32 * STEPS),
        *_fields(c.c_int32, "done_value refused_value tombstone_value"),
        ("behind", c.c_uint64 * STEPS),
        ("retriable", c.c_uint64),
        *_fields(
            c.c_double,
            "deadline client_timeout warmup duration redelivery deduplication retention publish_timeout cooldown factor_step "
            "budget_ratio budget_burst budget_saved",
        ),
    )


GAUGE: Final = ("last", "net", "gross", "net_integral", "gross_integral", "violated", "peak")


class Gauge(c.Structure):
    """One conserved quantity: `simtx.metrics.ledger.DriftGauge`."""

    _fields_ = tuple(_fields(c.c_double, " ".join(GAUGE)))


class Station(c.Structure):
    """`simtx.metrics.stations.Station`."""

    _fields_ = (*_fields(c.c_int64, "arrivals departures present"), *_fields(c.c_double, "stayed entries exits"))


class Figures(c.Structure):
    """Counts of a node."""

    _fields_ = (
        *_fields(c.c_double, "busy_time work since disk_busy locks_held"),
        *_fields(c.c_int64, "locks_taken lock_queue"),
        *_fields(c.c_int32, "busy queue prepared rows held expired"),
        *_fields(Station, "waiting served waits"),
    )


class Link(c.Structure):
    """`simtx.simulator.network.Link`: which streams it draws from, and the chances to be spared."""

    _fields_ = (
        *_fields(c.c_int32, "draw plain reorders duplicates loses blocked"),
        *_fields(c.c_double, "reorder duplication loss"),
        *_fields(
            c.c_int32,
            "reorder_stream duplication_stream loss_stream delay_stream copy_latency_stream copy_delay_stream",
        ),
    )


class Source(c.Structure):
    """Recipe by which C makes the numbers of a stream: `simtx.workload.by_transaction.Recipe`, and the key of its generator."""

    _fields_ = (
        ("key", c.c_uint64 * 2),
        *_fields(c.c_double, "factor median shift"),
        *_fields(c.c_int32, "raw shifted"),
    )


class Generators(c.Structure):
    """Functions of NumPy that C calls, by `RAWS`, and the generator that they are called with."""

    _fields_ = (
        ("bits", c.c_void_p),
        ("write", c.c_void_p * len(RAWS)),
        *_fields(c.c_void_p, "exponential data"),
    )


class Template(c.Structure):
    """A local transaction as a machine asks for it."""

    _fields_ = (
        *_fields(c.c_int32, "type node key undoes undone_if accepted refused has_refused compensation"),
        *_fields(c.c_int32, "operations count steps"),
        ("step", c.c_int32 * STEPS),
        *_fields(c.c_int32, "record serial accepted_rows refused_rows"),
        ("accepted_row", c.c_int32 * OUTGOING),
        ("refused_row", c.c_int32 * OUTGOING),
        *_fields(c.c_int32, "on_done on_refused on_failed"),
        ("on_duplicate", c.c_int32 * 64),
    )


COUNTS: Final = ("done", "refused", "unknown", "limited", "query")


class Provider(c.Structure):
    """A provider outside: `simtx.simulator.provider.Provider`; counts by `COUNTS`."""

    _fields_ = (
        *_fields(c.c_double, "silent timeouts_done timeout factor rate burst retry_after idempotency tokens refilled"),
        ("counts", c.c_int64 * len(COUNTS)),
        *_fields(c.c_int32, "exists up latency chance status_query limited remembers unused"),
    )


class Transaction(c.Structure):
    """`simtx.metrics.ledger.TransactionRecord`."""

    _fields_ = (
        *_fields(
            c.c_double,
            "arrival last_activity answered decided first_effect last_effect lock_wait lock_hold in_doubt",
        ),
        ("counts", c.c_void_p),
        *_fields(c.c_int32, "messages broker_messages forced lazy retries prepared done actors duplicates missing"),
        ("durable", c.c_uint32),
        ("forgotten", c.c_uint32),
        *_fields(
            c.c_uint8,
            "decision answer outcome partial refused stuck open light young closed measured shape asking served watch resting",
        ),
    )


_INT, _DOUBLE, _ENGINE = c.c_int, c.c_double, c.c_void_p

SIZED: Final[dict[str, type[c.Structure]]] = {
    "head": Head,
    "transaction": Transaction,
    "figures": Figures,
    "generators": Generators,
    "source": Source,
    "provider": Provider,
}
"""Structures whose size C tells, by the name that it has for each."""

SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    **{f"engine_{name}_size": (_INT, ()) for name in SIZED},
    "engine_new": (_ENGINE, (c.POINTER(Calls),)),
    "engine_free": (None, (_ENGINE,)),
    "engine_take_learned": (_ENGINE, (_ENGINE,)),
    "engine_give_learned": (None, (_ENGINE, _ENGINE)),
    "engine_forget_learned": (None, (_ENGINE,)),
    "engine_sample": (_INT, (_ENGINE, c.POINTER(_DOUBLE))),
    "engine_columns": (
        None,
        (_ENGINE, _INT, c.POINTER(c.c_int32), c.POINTER(c.c_int32), c.POINTER(c.c_void_p)),
    ),
    "engine_start_samples": (None, (_ENGINE, _DOUBLE, c.c_int64)),
    "engine_samples": (c.c_void_p, (_ENGINE, c.POINTER(c.c_int64))),
    "engine_head": (c.POINTER(Head), (_ENGINE,)),
    "engine_gauges": (c.POINTER(Gauge), (_ENGINE,)),
    "engine_transactions": (c.c_void_p, (_ENGINE,)),
    "engine_order": (c.c_void_p, (_ENGINE,)),
    "engine_stream": (_INT, (_ENGINE, _INT, _DOUBLE)),
    "engine_generators": (None, (_ENGINE, c.POINTER(Generators))),
    "engine_draws": (None, (_ENGINE, _INT, c.POINTER(Source))),
    "engine_try_source": (
        None,
        (c.POINTER(Generators), c.POINTER(Source), c.c_int64, c.c_int64, _INT, _INT, c.c_void_p),
    ),
    "engine_together": (
        None,
        (_ENGINE, _INT, _INT, _DOUBLE, _DOUBLE, _INT, c.c_void_p, c.c_void_p, _INT, _DOUBLE, _DOUBLE),
    ),
    "engine_bounds": (_INT, (_ENGINE, c.POINTER(_DOUBLE), _INT)),
    "engine_node": (None, (_ENGINE, _INT, _INT, _INT, _INT, _INT, _DOUBLE)),
    "engine_crash": (None, (_ENGINE, _INT)),
    "engine_restart": (None, (_ENGINE, _INT)),
    "engine_pause": (None, (_ENGINE, _INT)),
    "engine_unpause": (None, (_ENGINE, _INT)),
    "engine_begin_outage": (None, (_ENGINE, _INT)),
    "engine_end_outage": (None, (_ENGINE, _INT)),
    "engine_connected": (None, (_ENGINE, _INT)),
    "engine_recovery": (_INT, (_ENGINE, _INT, _INT, _INT)),
    "engine_store": (None, (_ENGINE, _INT, _INT, _DOUBLE, _DOUBLE, _INT, _INT, _INT, _INT)),
    "engine_start_relay": (None, (_ENGINE, _INT, _INT, _INT, c.POINTER(c.c_int32))),
    "engine_provider": (None, (_ENGINE, _INT, c.POINTER(Provider))),
    "engine_set_provider": (None, (_ENGINE, _INT, _INT, _DOUBLE, _DOUBLE)),
    "engine_provider_count": (c.c_int64, (_ENGINE, _INT, _INT)),
    "engine_replica": (None, (_ENGINE, _INT, _INT)),
    "engine_replica_reads": (c.c_int64, (_ENGINE, _INT, _INT)),
    "engine_link": (_INT, (_ENGINE, c.POINTER(Link))),
    "engine_link_number": (_INT, (_ENGINE, _INT, _INT)),
    "engine_set_link": (None, (_ENGINE, _INT, _INT, _INT, _DOUBLE, _INT, _DOUBLE, _INT, _DOUBLE)),
    "engine_factors": (None, (_ENGINE, _INT, _DOUBLE, _DOUBLE)),
    "engine_broker_crash": (None, (_ENGINE, _INT, _INT, _INT)),
    "engine_broker_restart": (None, (_ENGINE,)),
    "engine_votes_crash": (None, (_ENGINE,)),
    "engine_votes_restart": (None, (_ENGINE,)),
    "engine_key": (_INT, (_ENGINE, _INT, c.c_char_p, _DOUBLE, _INT, _INT, c.POINTER(_DOUBLE))),
    "engine_keys": (_INT, (_ENGINE, _INT, _INT, c.c_char_p, c.c_int64, _DOUBLE, _INT, c.POINTER(_DOUBLE))),
    "engine_numbered_keys": (
        _INT,
        (_ENGINE, _INT, _INT, c.c_char_p, c.c_void_p, c.c_char_p, _DOUBLE, _INT, c.POINTER(_DOUBLE)),
    ),
    "engine_key_count": (_INT, (_ENGINE,)),
    "engine_key_name": (c.c_char_p, (_ENGINE, _INT)),
    "engine_values": (None, (_ENGINE, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p)),
    "engine_packed": (c.c_int64, (_ENGINE, _INT, c.c_void_p)),
    "engine_force": (None, (_ENGINE, c.c_void_p, c.c_void_p, c.c_void_p)),
    "engine_actions": (c.c_void_p, (_ENGINE,)),
    "engine_undone": (c.c_void_p, (_ENGINE,)),
    "engine_forget_effects": (None, (_ENGINE,)),
    "engine_claims": (c.c_void_p, (_ENGINE,)),
    "engine_claim": (None, (_ENGINE, _INT, _INT, _INT)),
    "engine_page": (_INT, (_ENGINE, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p)),
    "engine_book": (_INT, (_ENGINE, _INT)),
    "engine_state": (_INT, (_ENGINE, _INT, _INT)),
    "engine_event": (_INT, (_ENGINE, _INT, _INT)),
    "engine_initial": (None, (_ENGINE, _INT, _INT)),
    "engine_timer": (None, (_ENGINE, _INT, _INT)),
    "engine_number": (_INT, (_ENGINE, _DOUBLE)),
    "engine_program": (_INT, (_ENGINE, _INT, _INT, _INT, _INT, c.c_uint32)),
    "engine_aim": (_INT, (_ENGINE, _INT, _INT, _INT, c.c_int64, _INT, _INT)),
    "engine_is_up": (_INT, (_ENGINE, _INT)),
    "engine_transition": (_INT, (_ENGINE, _INT, _INT, _INT, _INT, _INT, _INT, c.POINTER(c.c_int32))),
    "engine_taken": (c.c_int64, (_ENGINE, _INT)),
    "engine_rare": (None, (_ENGINE, *[c.POINTER(c.c_int32)] * 3)),
    "engine_operation": (_INT, (_ENGINE, _INT, _INT, _INT, _INT, _DOUBLE, _INT, _DOUBLE)),
    "engine_template": (_INT, (_ENGINE, c.POINTER(Template))),
    "engine_on_duplicate": (None, (_ENGINE, _INT, _INT, _INT)),
    "engine_row_key": (_INT, (_ENGINE,)),
    "engine_push": (None, (_ENGINE, _DOUBLE, _INT, _INT)),
    "engine_arrivals": (None, (_ENGINE,)),
    "engine_host": (None, (_ENGINE, _INT, _INT, _INT, _DOUBLE, _DOUBLE)),
    "engine_process": (None, (_ENGINE, _INT, _INT, _INT, c.POINTER(_DOUBLE))),
    "engine_start": (_INT, (_ENGINE, _INT, _INT)),
    "engine_process_busy": (_DOUBLE, (_ENGINE, _INT)),
    "engine_figures": (None, (_ENGINE, _INT, c.POINTER(Figures))),
    "engine_account": (None, (_ENGINE, _INT, _DOUBLE, _DOUBLE)),
    "engine_run": (_INT, (_ENGINE,)),
    "engine_odd": (c.c_int64, (_ENGINE, c.c_void_p, c.c_void_p, c.POINTER(c.c_int64))),
    "engine_quiet": (_INT, (_ENGINE,)),
    "engine_finish": (None, (_ENGINE,)),
}


def bind(library: c.CDLL) -> c.CDLL:
    """Give the functions of a library their types.

    Raises:
        AssertionError: Python and C do not agree on the layout.
    """
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, structure in SIZED.items():
        size = getattr(library, f"engine_{name}_size")()
        if size != c.sizeof(structure):
            raise AssertionError(f"{structure.__name__} has {c.sizeof(structure)} bytes in Python and {size} in C")
    return library
