"""A wrong file is refused with exactly one line that says where, what, and what would be right."""

import pytest

from simtx.errors import ScenarioError
from simtx.scenario import load

GOOD = """
[services.orders]
service_time = "4ms"

[services.payments]
workers = 2
service_time = { distribution = "exponential", average = "8ms" }
store.initial = { "limit:*" = 10 }

[services.shipping]
service_time = "5ms"

[transaction.parameters]
customer = { population = 100 }
price = { values = { distribution = "uniform", low = 1, high = 9 } }

[[transaction.steps]]
name = "order"
service = "orders"
operations = [{ key = "booked:{customer}", parameter = "price" }]
compensation = [{ key = "booked:{customer}", parameter = "price", amount = -1 }]

[[transaction.steps]]
name = "charge"
service = "payments"
kind = "pivot"
operations = [{ key = "charged:{customer}", parameter = "price" }]
refusal = "3%"

[[transaction.steps]]
name = "ship"
service = "shipping"
kind = "retriable"
operations = [{ key = "sent:{customer}", amount = 1 }]

[[invariants]]
name = "money"
kind = "conserved"
terms = [{ service = "orders", prefix = "booked:" }, { service = "payments", prefix = "charged:", weight = -1 }]

[workload]
rate = "50/s"

[run]
transactions = 1000
warmup = "2s"
"""

MORE = "[run]"  # cases that add tables put them before this one

CASES = [
    # --- keys and types
    ("unknown key", "workers = 2", "workrs = 2", "services.payments.workrs: unknown key; did you mean 'workers'?"),
    ("unknown table", MORE, "[netwrok]\nloss = 0.1\n[run]", "netwrok: unknown key; did you mean 'network'?"),
    (
        "unknown key without a neighbour",
        MORE,
        "[hub]\ncolour = 1\n[run]",
        "hub.colour: unknown key; the keys here are 'zone', 'log'",
    ),
    ("missing key", 'service = "shipping"\n', "", "transaction.steps[2].service: is missing"),
    ("missing table", '[workload]\nrate = "50/s"\n', "", "workload: is missing"),
    (
        "text for a whole number",
        "workers = 2",
        'workers = "two"',
        "services.payments.workers: 'two' is no whole number",
    ),
    ("no workers", "workers = 2", "workers = 0", "services.payments.workers: 0 is too small; it must be at least 1"),
    ("half a worker", "workers = 2", "workers = 1.5", "services.payments.workers: 1.5 is no whole number"),
    ("number for a text", 'name = "money"', "name = 5", "invariants[0].name: 5 is no text; put it in quotes"),
    (
        "misspelt choice",
        'kind = "pivot"',
        'kind = "pivott"',
        "transaction.steps[1].kind: 'pivott' is not allowed; did you mean 'pivot'?",
    ),
    (
        "impossible choice",
        MORE,
        '[broker]\nack = "never"\n[run]',
        "broker.ack: 'never' is not allowed; one of 'memory', 'quorum', 'fsync'",
    ),
    (
        "a log without order",
        MORE,
        '[broker]\nkind = "kafka"\nordered = false\n[run]',
        "broker.ordered: a partition is read in order; without order there is only a queue (partitions = 0)",
    ),
    (
        "a mechanism without what it belongs to",
        MORE,
        '[broker]\nkind = "sqs-fifo"\nnack_delay = "1s"\n[run]',
        "broker.nack_delay: means nothing without 'nack'",
    ),
    (
        "no list of waits",
        MORE,
        '[broker]\nbackoff = "1s"\n[run]',
        """broker.backoff: '1s' is no list of durations, such as ["1s", "5s"]""",
    ),
    ("text for a truth", MORE, '[network]\ntail = "yes"\n[run]', "network.tail: 'yes' is neither true nor false"),
    ("number for a table", "\n[services.orders]", "hub = 5\n[services.orders]", "hub: 5 is no table"),
    (
        "name with a space",
        'name = "ship"',
        'name = "ship it"',
        "transaction.steps[2].name: 'ship it' is no name; use letters, digits, '-' and '_', a letter first",
    ),
    # --- durations, rates, probabilities
    (
        "duration without unit",
        'service_time = "4ms"',
        "service_time = 4",
        "services.orders.service_time: 4 has no unit; write '4ms' or '4s'",
    ),
    (
        "duration text without unit",
        'warmup = "2s"',
        'warmup = "2"',
        "run.warmup: '2' has no unit; write '2ms' or '2s'",
    ),
    (
        "unknown unit",
        'warmup = "2s"',
        'warmup = "2 sec"',
        "run.warmup: '2 sec' has an unknown unit 'sec'; the units are us, ms, s, min, h, d",
    ),
    (
        "negative latency",
        MORE,
        '[network]\nlatency = "-5ms"\n[run]',
        "network.latency: '-5ms' is negative; a duration is at least 0",
    ),
    (
        "NaN",
        'service_time = "4ms"',
        "service_time = nan",
        "services.orders.service_time: nan is not finite; write a duration such as '5ms'",
    ),
    (
        "infinite duration",
        'warmup = "2s"',
        'warmup = "inf s"',
        "run.warmup: 'inf s' is not finite; write a duration such as '5ms'",
    ),
    (
        "timeout of zero",
        MORE,
        '[policies]\ncall_timeout = "0s"\n[run]',
        "policies.call_timeout: '0s' is too short; it must be above 0",
    ),
    (
        "probability above one",
        'refusal = "3%"',
        "refusal = 3",
        "transaction.steps[1].refusal: 3 is no probability; it must be from 0 to 1",
    ),
    (
        "percentage above one",
        'refusal = "3%"',
        'refusal = "103%"',
        "transaction.steps[1].refusal: '103%' is no probability; it must be from 0 to 1",
    ),
    (
        "no probability",
        'refusal = "3%"',
        'refusal = "rarely"',
        (
            "transaction.steps[1].refusal: 'rarely' is no probability; "
            "write a number from 0 to 1, or a percentage such as '0.5%'"
        ),
    ),
    ("negative rate", 'rate = "50/s"', "rate = -5", "workload.rate: -5 is negative; a rate is at least 0"),
    ("rate of zero", 'rate = "50/s"', "rate = 0", "workload.rate: is zero; nothing would ever arrive"),
    (
        "unknown rate unit",
        'rate = "50/s"',
        'rate = "50/sec"',
        "workload.rate: '50/sec' has an unknown unit 'sec'; the units are /s, /min, /h, /d",
    ),
    # --- distributions
    (
        "unknown distribution",
        'distribution = "exponential"',
        'distribution = "exponentail"',
        "services.payments.service_time.distribution: 'exponentail' is no distribution; did you mean 'exponential'?",
    ),
    (
        "unknown key of a distribution",
        'average = "8ms" }',
        'average = "8ms", sigma = 1 }',
        (
            "services.payments.service_time.sigma: unknown key of a distribution 'exponential'; "
            "one of 'distribution', 'average'"
        ),
    ),
    (
        "missing key of a distribution",
        'distribution = "exponential", average = "8ms"',
        'distribution = "lognormal", median = "8ms"',
        "services.payments.service_time.sigma: is missing",
    ),
    (
        "bad duration inside a distribution",
        'average = "8ms"',
        "average = 8",
        "services.payments.service_time.average: 8 has no unit; write '8ms' or '8s'",
    ),
    (
        "average of zero",
        'average = "8ms"',
        'average = "0ms"',
        "services.payments.service_time: average must be a finite number above 0, not 0",
    ),
    (
        "uniform upside down",
        "low = 1, high = 9",
        "low = 9, high = 1",
        "transaction.parameters.price.values: low must be finite and not above high, not low = 9, high = 1",
    ),
    (
        "unknown disk",
        MORE,
        '[hub]\nlog.forced_write = "ebs-gp4"\n[run]',
        "hub.log.forced_write: 'ebs-gp4' is neither a duration nor a known latency; did you mean 'ebs-gp3'?",
    ),
    # --- nodes and zones
    (
        "reserved name",
        MORE,
        '[services.broker]\nservice_time = "1ms"\n[run]',
        "services.broker: 'broker' is the name of another node; call the service something else",
    ),
    (
        "unknown zone",
        "workers = 2",
        'zone = "frankfort"',
        "services.payments.zone: 'frankfort' is no known zone; did you mean 'frankfurt'?",
    ),
    (
        "no latency",
        MORE,
        '[network]\nzones = ["cellar"]\nclient_zone = "cellar"\n[run]',
        (
            "network.links: no latency between 'cellar' and 'local', which 'orders' and 'client' need; "
            "add a link with between = ['cellar', 'local']"
        ),
    ),
    (
        "link with one end",
        MORE,
        '[[network.links]]\nfrom = "local"\n[run]',
        "network.links[0]: 'to' is missing",
    ),
    (
        "link between three zones",
        MORE,
        '[[network.links]]\nbetween = ["local", "tokyo", "sydney"]\n[run]',
        "network.links[0].between: two zones are needed, not 3",
    ),
    # --- the business transaction
    (
        "unknown service",
        'service = "shipping"',
        'service = "shiping"',
        "transaction.steps[2].service: 'shiping' is no service; did you mean 'shipping'?",
    ),
    (
        "same step twice",
        'name = "charge"',
        'name = "order"',
        "transaction.steps[1].name: 'order' is the name of steps[0] too",
    ),
    (
        "unknown step",
        'service = "shipping"',
        'service = "shipping"\nafter = ["chrage"]',
        "transaction.steps[2].after[0]: 'chrage' is no step; did you mean 'charge'?",
    ),
    (
        "cycle",
        'service = "orders"',
        'service = "orders"\nafter = ["ship"]',
        "transaction.steps: the steps wait for each other in a cycle: order -> charge -> ship -> order",
    ),
    (
        "missing compensation",
        'compensation = [{ key = "booked:{customer}", parameter = "price", amount = -1 }]',
        "",
        (
            "transaction.steps[0].compensation: is missing: 'order' writes and can be undone until the pivot; "
            "say how, or make it the pivot"
        ),
    ),
    (
        "guard on a compensation",
        "amount = -1 }]",
        "amount = -1, low = 0 }]",
        "transaction.steps[0].compensation[0].low: a compensation must not be refused; drop the guard",
    ),
    (
        "two pivots",
        'kind = "retriable"',
        'kind = "pivot"',
        "transaction.steps[2].kind: there can be one pivot only, not 'charge' and 'ship'",
    ),
    (
        "compensatable beside the pivot",
        'service = "payments"\nkind',
        'service = "payments"\nafter = []\nkind',
        (
            "transaction.steps[0].kind: 'order' does not come before the pivot 'charge', so it cannot be undone; "
            "make it retriable, or move it"
        ),
    ),
    (
        "retriable beside the pivot",
        'service = "shipping"',
        'service = "shipping"\nafter = ["order"]',
        (
            "transaction.steps[2].kind: 'ship' does not come after the pivot 'charge', so it is not retriable; "
            "make it compensatable, or move it"
        ),
    ),
    (
        "retriable step that can be refused",
        'kind = "retriable"',
        'kind = "retriable"\nrefusal = 0.1',
        (
            "transaction.steps[2].refusal: 'ship' is retriable and comes after the pivot: it must not be refused; "
            "drop it, or move the step"
        ),
    ),
    (
        "retriable step with a guard",
        'key = "sent:{customer}", amount = 1',
        'key = "sent:{customer}", amount = 1, high = 5',
        (
            "transaction.steps[2].operations[0].high: 'ship' is retriable and comes after the pivot: "
            "it must not be refused; drop the guard, or move the step"
        ),
    ),
    (
        "unknown parameter in a key",
        "sent:{customer}",
        "sent:{custmer}",
        "transaction.steps[2].operations[0].key: 'sent:{custmer}': 'custmer' is no parameter; did you mean 'customer'?",
    ),
    (
        "number in a key",
        "sent:{customer}",
        "sent:{price}",
        (
            "transaction.steps[2].operations[0].key: 'sent:{price}': 'price' is a number, not a key; "
            "give it 'population' instead of 'values'"
        ),
    ),
    (
        "half a brace",
        "sent:{customer}",
        "sent:{customer",
        "transaction.steps[2].operations[0].key: 'sent:{customer' has a brace without its other half; write '{name}'",
    ),
    (
        "no amount",
        'key = "sent:{customer}", amount = 1',
        'key = "sent:{customer}"',
        "transaction.steps[2].operations[0]: 'add' needs an 'amount', a 'parameter', or both",
    ),
    (
        "key as an amount",
        'key = "sent:{customer}", amount = 1',
        'key = "sent:{customer}", parameter = "customer"',
        (
            "transaction.steps[2].operations[0].parameter: 'customer' is a key, not a number; "
            "give it 'values' instead of 'population'"
        ),
    ),
    (
        "parameter of both sorts",
        "customer = { population = 100 }",
        "customer = { population = 100, values = 3 }",
        "transaction.parameters.customer: give either 'population' (a key) or 'values' (a number), not both",
    ),
    # --- invariants
    (
        "invariant on an unknown service",
        'terms = [{ service = "orders"',
        'terms = [{ service = "order"',
        "invariants[0].terms[0].service: 'order' is no service; did you mean 'orders'?",
    ),
    (
        "sum that a transaction changes",
        "weight = -1",
        "weight = -2",
        "invariants[0]: a complete transaction changes 'money' by -1 * price; the sum must stay what it was",
    ),
    (
        "compensation that does not restore the sum",
        'parameter = "price", amount = -1',
        'parameter = "price", amount = -0.5',
        (
            "transaction.steps[0].compensation: does not restore the invariant 'money': "
            "'order' and its compensation together change it by +0.5 * price"
        ),
    ),
    (
        "bounds violated from the start",
        MORE,
        '[[invariants]]\nname = "limit"\nkind = "bounds"\nservice = "payments"\nprefix = "limit:"\nlow = 20\n[run]',
        "invariants[1]: 'limit:*' of 'payments' starts at 10, outside of the bounds",
    ),
    # --- workload and run
    (
        "closed workload without users",
        'rate = "50/s"',
        'kind = "closed"\nthink_time = "1s"',
        "workload.users: is missing: a closed workload needs it",
    ),
    (
        "rate of a closed workload",
        'rate = "50/s"',
        'kind = "closed"\nthink_time = "1s"\nusers = 5\nrate = 5',
        "workload.rate: does not belong to a closed workload; drop it, or change the kind",
    ),
    (
        "profile out of order",
        'rate = "50/s"',
        'kind = "profile"\nprofile = [["10s", 5], ["0s", 9]]',
        "workload.profile: the times must ascend",
    ),
    (
        "missing trace file",
        'rate = "50/s"',
        'kind = "trace"\ntrace = "/nowhere/arrivals.csv"',
        "workload.trace: the trace file '/nowhere/arrivals.csv' cannot be read: No such file or directory",
    ),
    ("no length", "transactions = 1000\n", "", "run: give 'transactions' or 'duration'"),
    (
        "two lengths",
        "transactions = 1000\n",
        'transactions = 1000\nduration = "20s"\n',
        "run: give either 'transactions' or 'duration', not both",
    ),
    (
        "warm-up as long as the run",
        'warmup = "2s"',
        'warmup = "20s"',
        "run.warmup: 20 s is not shorter than the run, which is expected to last 20 s; choose a shorter one (0s: none), or a longer run",
    ),
    # --- faults, policies, notes
    (
        "fault on an unknown node",
        MORE,
        '[[faults]]\nkind = "crash"\nnode = "order"\nat = "1s"\nduration = "1s"\n[run]',
        "faults[0].node: 'order' is no node that a crash can happen to; did you mean 'orders'?",
    ),
    (
        "fault without a time",
        MORE,
        '[[faults]]\nkind = "crash"\nnode = "hub"\nduration = "1s"\n[run]',
        "faults[0]: give exactly one of 'at', 'every' or 'trigger' to say when it happens",
    ),
    (
        "fault with two times",
        MORE,
        '[[faults]]\nkind = "pause"\nnode = "hub"\nat = "1s"\nevery = "5s"\nduration = "1s"\n[run]',
        "faults[0]: give exactly one of 'at' or 'every', not at and every",
    ),
    (
        "loss without a probability",
        MORE,
        '[[faults]]\nkind = "loss"\nat = "1s"\nduration = "1s"\n[run]',
        "faults[0].probability: is missing: a loss needs it",
    ),
    (
        "partition of nobody",
        MORE,
        '[[faults]]\nkind = "partition"\na = ["paris"]\nat = "1s"\nduration = "1s"\n[run]',
        (
            "faults[0].a[0]: 'paris' is neither a node nor a zone with nodes; "
            "one of 'orders', 'payments', 'shipping', 'hub', 'broker', 'vote-store', 'client', 'local'"
        ),
    ),
    (
        "crash of the broker",
        MORE,
        '[[faults]]\nkind = "crash"\nnode = "broker"\nat = "1s"\nduration = "1s"\n[run]',
        "faults[0].node: a crash happens to a service or 'hub'; for the broker there is kind = 'broker-outage'",
    ),
    (
        "unknown effect",
        MORE,
        (
            '[[faults]]\nkind = "crash"\nnode = "hub"\nduration = "1s"\n'
            'trigger = { transaction = 3, effect = "Apend:commit" }\n[run]'
        ),
        "faults[0].trigger.effect: 'Apend' is no effect of a protocol; did you mean 'Append'?",
    ),
    (
        "trigger that is of no transaction",
        MORE,
        (
            '[[faults]]\nkind = "crash"\nnode = "orders"\nduration = "1s"\n'
            'trigger = { transaction = 3, effect = "ReadOutbox" }\n[run]'
        ),
        (
            "faults[0].trigger.effect: a relay reads the outbox for no transaction in particular; "
            "name 'Publish' or 'MarkOutbox'"
        ),
    ),
    (
        "trigger after the end",
        MORE,
        (
            '[[faults]]\nkind = "crash"\nnode = "hub"\nduration = "1s"\n'
            'trigger = { transaction = 1000, effect = "Append" }\n[run]'
        ),
        "faults[0].trigger.transaction: 1000 never arrives: the run has 1000, counted from 0",
    ),
    (
        "back-off above its cap",
        MORE,
        '[policies.backoff]\nbase = "2s"\ncap = "1s"\n[run]',
        "policies.backoff.cap: 1 s is below base = 2 s",
    ),
    (
        "note on nothing",
        MORE,
        '[assumptions]\n"workload.rat" = "a guess"\n[run]',
        "assumptions.workload.rat: there is no figure at this path; did you mean 'workload.rate'?",
    ),
    (
        "defaults with a flaw, shared by all services",
        MORE,
        '[defaults]\nqueue_limit = "none"\n[run]',
        "defaults.queue_limit: 'none' is no whole number",
    ),
]


def test_the_good_file_is_good(tmp_path):
    """The cases below differ from this file in one place each."""
    path = tmp_path / "shop.toml"
    path.write_text(GOOD)
    assert load(path).warnings == []


@pytest.mark.parametrize(("old", "new", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_line_says_what_is_wrong(tmp_path, old, new, line):
    assert GOOD.count(old) >= 1
    path = tmp_path / "shop.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == f"shop.toml: {line}"


def test_all_problems_of_a_file_are_reported_at_once(tmp_path):
    path = tmp_path / "shop.toml"
    text = GOOD.replace('service = "shipping"', 'service = "shiping"').replace("workers = 2", "workrs = 2")
    text = text.replace('{ key = "sent:{customer}", amount = 1 }', '{ key = "sent:{custmer}", amount = 1, low = 0 }')
    path.write_text(text.replace('warmup = "2s"', 'warmup = "2"').replace('refusal = "3%"', "refusal = 3"))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert sorted(str(caught.value).splitlines()) == [
        "shop.toml: run.warmup: '2' has no unit; write '2ms' or '2s'",
        "shop.toml: services.payments.workrs: unknown key; did you mean 'workers'?",
        "shop.toml: transaction.steps[1].refusal: 3 is no probability; it must be from 0 to 1",
        (
            "shop.toml: transaction.steps[2].operations[0].key: 'sent:{custmer}': 'custmer' is no parameter; "
            "did you mean 'customer'?"
        ),
        (
            "shop.toml: transaction.steps[2].operations[0].low: 'ship' is retriable and comes after the pivot: "
            "it must not be refused; drop the guard, or move the step"
        ),
        "shop.toml: transaction.steps[2].service: 'shiping' is no service; did you mean 'shipping'?",
    ]


def test_a_misspelt_key_does_not_cause_a_second_complaint_about_the_same_step(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text(GOOD.replace("compensation = ", "compensaton = "))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == "shop.toml: transaction.steps[0].compensaton: unknown key; did you mean 'compensation'?"


def test_what_is_no_toml_is_said_with_its_line(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text("[services\n")
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).startswith("shop.toml: this is not TOML: ")
    assert "line 1" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_and_unreadable_files(tmp_path):
    (tmp_path / "shop.toml").write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"shp\.toml: there is no such file; did you mean 'shop\.toml'\?$"):
        load(tmp_path / "shp.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ScenarioError, match=r"folder\.toml: the file cannot be read: Is a directory$"):
        load(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe4"')
    with pytest.raises(ScenarioError, match=r"latin\.toml: the file cannot be read: it is not UTF-8 text$"):
        load(tmp_path / "latin.toml")


def test_a_built_in_scenario_by_the_name_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("checkout.toml", "checkuot.toml"):
        with pytest.raises(
            ScenarioError, match=rf"{name}: there is no such file; did you mean 'checkout', which is built in\?$"
        ):
            load(name)
    with pytest.raises(ScenarioError, match=r"somewhere/else\.toml: there is no such file$"):
        load("somewhere/else.toml")


def test_unknown_name():
    with pytest.raises(ScenarioError, match=r"^there is no scenario 'chekout'; did you mean 'checkout'\?"):
        load("chekout")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            "when\n1\n",
            "'arrivals.csv' has no column 'time'; its columns are 'when'; say which one holds the times: column = { time = '...' }",
        ),
        ("time\n", "'arrivals.csv' has no rows"),
        ("time\n1\nsoon\n", "'arrivals.csv' line 3: 'soon' in column 'time' is no number"),
        (
            "time\n2\n1\n",
            "'arrivals.csv' line 3: time 1 is before that of the line above, 2; write sort = true if that is meant",
        ),
        ("time\n-1\n1\n", "'arrivals.csv' line 2: time -1 is negative: before the origin"),
        ("time,price\n1,2\n2,\n", "'arrivals.csv' line 3: '' in column 'price' is no number"),
    ],
)
def test_bad_trace_files(tmp_path, rows, line):
    (tmp_path / "arrivals.csv").write_text(rows)
    path = tmp_path / "shop.toml"
    path.write_text(
        GOOD.replace('rate = "50/s"', 'kind = "trace"\ntrace = "arrivals.csv"')
        .replace("transactions = 1000\n", "")
        .replace('warmup = "2s"', "")
    )
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == f"shop.toml: workload.trace: {line}"


def test_files_that_extend_one_another(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "a.toml")
    assert str(caught.value) == "b.toml: extends: files extend one another in a circle: a.toml -> b.toml -> a.toml"
    (tmp_path / "c.toml").write_text('extends = "chekout"\n')
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "c.toml")
    assert str(caught.value) == "c.toml: extends: there is no scenario 'chekout'; did you mean 'checkout'?"
