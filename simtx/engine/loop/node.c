/* A node: its machines, and what their effects do; one function for each effect that takes more than a line: simtx.simulator.node. */

static void publish(Engine *E, RunningMachine *actor, int32_t event, int64_t tx, int32_t on_done, int32_t on_failed);
static void ask_votes(Engine *E, RunningMachine *actor, int request, int vote, int voter);
static void vote_is_durable(Engine *E, int64_t tx, int voter);
static void play(Engine *E, RunningMachine *actor, int32_t event, int64_t id);

/* --- machines come and go ------------------------------------------------------------------------------------------------------------------- */

static RunningMachine *spawn(Engine *E, int64_t tx, int node) {
  Transaction *T = record(E, tx);
  RunningMachine *actor = new_actor(E);
  *actor = (RunningMachine){.tx = tx, .node = node, .state = E->node[node].initial, .done = -1, .alive = 1, .gen = actor->gen};
  if (T) T->actors++;
  have_place(E, tx, node)->actor = actor;
  return actor;
}

static void post(Engine *E, RunningMachine *actor, int32_t event, int64_t id) {
  Mail *mail = new_mail(E);
  mail->event = event;
  mail->id = id;
  mail->next = NULL;
  ENQUEUE(actor->head, actor->tail, mail, next);
}

/* An event happens to a machine; `id` is that of a delivery, else -1. */
static void notify(Engine *E, RunningMachine *actor, int32_t event, int64_t id) {
  if (actor->phase) post(E, actor, event, id);
  else play(E, actor, event, id);
}

static void receive(Engine *E, int64_t tx, int32_t event) {
  int node = E->learned.event_node[event];
  if (!E->node[node].up) return;
  if (!takes_time(E, node, (Waiting){.kind = MESSAGE, .event = event, .tx = tx})) received(E, tx, event);
}

static void received(Engine *E, int64_t tx, int32_t event) {
  int node = E->learned.event_node[event];
  if (!E->node[node].up || wait(E, node, (Waiting){.kind = MESSAGE, .event = event, .tx = tx})) return;
  int sender = E->learned.event_sender[event];
  if (E->head.has_breakers && sender >= 0) call_succeeded(E, node, sender);
  RunningMachine *actor = actor_of(E, tx, node);
  if (!actor) actor = spawn(E, tx, node);
  else if (actor->phase) { post(E, actor, event, -1); return; }
  play(E, actor, event, -1);
}

static void free_it(Engine *E, RunningMachine *actor) {
  Place *place = find_place(E, actor->tx, actor->node);
  if (place && place->actor == actor) {
    place->actor = NULL;
    drop_place(E, actor->tx, actor->node);
    Transaction *T = record(E, actor->tx);
    if (T) { T->actors--; T->last_activity = E->head.now; }
  }
  actor->alive = 0;
  cancel_timers(E, actor);
}

static void recycle(Engine *E, RunningMachine *actor) {
  actor->gen++;
  free_actor(E, actor);
}

static int is_timer(Engine *E, int32_t event) {
  for (int i = 0; i < TIMERS; i++)
    if (E->learned.timer_event[i] == event) return 1;
  return 0;
}

static void forget(Engine *E, RunningMachine *actor) {
  int64_t tx = actor->tx;
  int node = actor->node;
  free_it(E, actor);
  if (tx >= 0) E->tx[tx].durable &= ~(1u << node);
  Place *place = E->head.crashes ? find_place(E, tx, node) : NULL;
  if (place && place->records) { /* that they are garbage is written lazily, too */
    Node *N = &E->node[node];
    Ending *ending = new_ending(E);
    *ending = (Ending){tx, E->head.now, place->records, NULL};
    place->records = place->last_record = NULL;
    drop_place(E, tx, node);
    ENQUEUE(N->first_ending, N->last_ending, ending, next);
    while (!buffered(E, N, N->first_ending->since)) {
      Ending *old = N->first_ending;
      N->first_ending = old->next;
      free_records(E, old->records);
      free_ending(E, old);
    }
  }
  Mail *mail = actor->head;
  actor->head = actor->tail = NULL;
  while (mail) {
    Mail *next = mail->next;
    int32_t event = mail->event;
    int64_t id = mail->id;
    free_mail(E, mail);
    if (!is_timer(E, event)) { /* timers are gone with their machine */
      RunningMachine *other = actor_of(E, tx, node);
      notify(E, other ? other : spawn(E, tx, node), event, id);
    }
    mail = next;
  }
}

/* --- local transactions --------------------------------------------------------------------------------------------------------------------- */

/* Its keys will be looked at when it was served: until then they come from memory. */
static void expect_keys(Engine *E, Work *work, Template *template) {
  for (int i = 0; i < template->count; i++) {
    Operation *operation = &E->learned.operation[template->operations + i];
    if (operation->kind != REFUSE) __builtin_prefetch(&E->key[operation_key(E, work, operation)]);
  }
}

/* A worker takes it, or it waits for one, or for the end of an outage. */
static void submit_made(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  if (node->outage) {
    work->next = NULL;
    ENQUEUE(node->first_stalled, node->last_stalled, work, next);
    return;
  }
  Template *template = &E->learned.template[work->template];
  Transaction *T = record(E, work->tx);
  if (open_of(E, work->tx, work->node)) {
    begin_rows(E, work);
    run_work(E, work);
    return;
  }
  expect_keys(E, work, template);
  double demand = 0.0;
  if (T)
    for (int i = 0; i < template->steps; i++) {
      int step = template->step[i];
      if (template->type == TRANSACT && template->compensation) demand += draw(E, E->head.undo[step], work->tx);
      else demand += E->demands[work->tx * E->head.steps + step];
    }
  if (node->works_inside) {
    work->inside = demand;
    demand = 0.0;
  }
  if (!submit(E, work, demand)) drop(E, work, FAILURE);
}

static Work *make_work(Engine *E, int number, int node, int64_t tx) {
  Template *template = &E->learned.template[number];
  Work *work = new_work(E);
  *work = (Work){.template = number, .node = node, .tx = tx, .refs = 1, .status = DONE, .epoch = -1, .wait_since = -1.0, .inside = -1.0, .waits_for = -1, .number = -1,
                 .ticket = -1, .changed = work->changed, .locked = work->locked, .values = work->values};
  for (int i = 0; i < template->steps; i++) work->steps |= (uint64_t)1 << template->step[i];
  return work;
}

static void submit_work(Engine *E, RunningMachine *actor, int number) {
  Work *work = make_work(E, number, actor->node, actor->tx);
  work->actor = actor;
  work->gen = actor->gen;
  actor->work = work;
  submit_made(E, work);
}

static void end_work(Engine *E, Work *work) { /* nobody will come back to it */
  if (work->ended) return;
  work->ended = 1;
  let_work(E, work);
}

static void finish(Engine *E, Work *work, int status, int value) {
  leave_begun(&E->node[work->node], work);
  if (work->epoch == E->node[work->node].pool.epoch) release_worker(E, work);
  RunningMachine *actor = work->actor;
  Template *template = &E->learned.template[work->template];
  Place *place = template->type == TRANSACT ? NULL : find_place(E, work->tx, work->node);
  if (!(place && (place->prepared == work || place->open == work))) end_work(E, work);
  if (!actor->alive || actor->gen != work->gen) return;
  actor->work = NULL;
  Transaction *T = record(E, actor->tx);
  if (status == REFUSED && T) T->refused = 1;
  int32_t event;
  if (status == DONE) event = template->on_done;
  else if (status == REFUSED) event = template->on_refused;
  else if (status == FAILURE) event = template->on_failed;
  else {
    event = template->on_duplicate[value];
    if (event < 0) {
      event = ASK(E, duplicate(work->template, value));
      if (event < 0) { fail(E, 3); return; }
    }
  }
  if (wait(E, actor->node, (Waiting){.kind = TELL, .event = event, .thing = actor, .gen = actor->gen})) return;
  actor->done = event;
  int submitting = actor->phase == SUBMITTING;
  actor->phase = BUSY;
  if (!submitting) go_on(E, actor);
}

/* --- what is durable now -------------------------------------------------------------------------------------------------------------------- */

static void hardened(Engine *E, RunningMachine *actor, int what) {
  Transaction *T = record(E, actor->tx);
  if (T) T->forced++;
  append(E, actor, what, 1);
}

/* A forced write of this machine is durable: on with the effects behind it. */
static void resume(Engine *E, RunningMachine *actor) {
  if (!wait(E, actor->node, (Waiting){.kind = RESUME, .thing = actor})) go_on(E, actor);
}

static void finalise(Engine *E, RunningMachine *actor, Work *branch, int commit, double in_doubt) {
  Transaction *T = record(E, actor->tx);
  if (T) { T->forced++; T->in_doubt += in_doubt; }
  if (commit) commit_prepared(E, branch);
  else roll_back(E, branch, 0);
}

/* Force what was written; on a host, that takes the time of its process first. */
static void write_out(Engine *E, RunningMachine *actor, Flush *flush) {
  if (!takes_time(E, actor->node, (Waiting){.kind = FORCE_WRITE, .thing = flush, .number = actor->node, .tx = actor->tx})) force(E, actor->node, flush, actor->tx);
}

/* Commit or roll back the branch; 0 if the machine has to wait for the disk. */
static int second_phase(Engine *E, RunningMachine *actor, int commit, int forced) {
  Place *place = find_place(E, actor->tx, actor->node);
  Work *branch = place ? place->prepared : NULL;
  Transaction *T = record(E, actor->tx);
  if (!branch) {
    branch = place ? place->open : NULL;
    if (branch && !commit) roll_back(E, branch, 0);
    return 1;
  }
  double in_doubt = E->head.now - branch->prepared_since;
  branch->actor = actor;
  branch->gen = actor->gen;
  if (!commit && !forced) {
    if (T) { T->lazy++; T->in_doubt += in_doubt; }
    roll_back(E, branch, 1);
    return 1;
  }
  Disk *disk = &E->node[actor->node].disk;
  if (at_once(disk)) {
    note_instant(E, disk);
    finalise(E, actor, branch, commit, in_doubt);
    return 1;
  }
  write_out(E, actor, make_flush(E, (Flush){.what = FINALISED, .actor = actor, .work = branch, .forced_rollback = !commit, .in_doubt = in_doubt}));
  return 0;
}

static void call_back(Engine *E, Flush *flush) {
  if (flush->what == NOTED) {
    ProviderCall *asked = flush->asked;
    free_flush(E, flush);
    go_on_asked(E, asked);
    return;
  }
  RunningMachine *actor = flush->actor;
  Work *work = flush->work;
  int what = flush->what, commit = !flush->forced_rollback;
  double in_doubt = flush->in_doubt;
  int written = flush->record;
  int64_t tx = flush->tx;
  uint32_t gen = actor ? actor->gen : 0;
  free_flush(E, flush);
  if (what == DURABLE) {
    durable(E, work);
  } else if (what == VOTED) {
    vote_is_durable(E, tx, written);
  } else if (what == HARDENED) {
    hardened(E, actor, written);
    resume(E, actor);
  } else {
    finalise(E, actor, work, commit, in_doubt);
    if (actor->gen == gen) resume(E, actor); /* else somebody who waited for its locks ran into an aimed crash */
  }
}

/* --- the other effects ---------------------------------------------------------------------------------------------------------------------- */

static void send(Engine *E, RunningMachine *actor, int32_t event) {
  int to = E->learned.event_node[event];
  if (E->head.has_breakers && !allowed(E, actor->node, to)) return;
  Transaction *T = record(E, actor->tx);
  if (T) T->messages++;
  transmit(E, link_of(E, actor->node, to), MESSAGE, NULL, actor->tx << 24 | event, actor->tx);
}

static void append_lazily(Engine *E, RunningMachine *actor, int what) {
  Transaction *T = record(E, actor->tx);
  if (T) T->lazy++;
  append(E, actor, what, 0);
}

/* 0 if the machine has to wait for the disk. */
static int append_forced(Engine *E, RunningMachine *actor, int what) {
  Disk *disk = &E->node[actor->node].disk;
  if (at_once(disk)) {
    note_instant(E, disk);
    hardened(E, actor, what);
    return 1;
  }
  write_out(E, actor, make_flush(E, (Flush){.what = HARDENED, .record = what, .actor = actor}));
  return 0;
}

/* 0 if the machine has to wait for what becomes of it. */
static int work(Engine *E, RunningMachine *actor, int template) {
  actor->phase = SUBMITTING;
  uint32_t gen = actor->gen;
  submit_work(E, actor, template);
  if (actor->gen != gen) return 0; /* an aimed crash */
  if (actor->phase != SUBMITTING) return 1;
  actor->phase = WAITING;
  return 0;
}

static void suspect(Engine *E, RunningMachine *actor, int to) {
  Transaction *T = record(E, actor->tx);
  if (T) T->retries++;
  if (E->head.has_breakers && to >= 0) call_failed(E, actor->node, to);
}

static void alert(Engine *E, RunningMachine *actor, int stuck) {
  Transaction *T = record(E, actor->tx);
  E->head.alerts++;
  if (stuck && T) T->stuck = 1;
}

static void acknowledge(Engine *E, RunningMachine *actor, int which) {
  transmit(E, link_of(E, actor->node, BROKER), ACKNOWLEDGED, NULL, actor->was[which], actor->tx);
}

/* --- events and programs of effects --------------------------------------------------------------------------------------------------------- */

/* Transactions whose transitions are played on the real machines, too. */
static int is_sampled(Engine *E, int64_t tx) { return tx < E->head.followed || !(tx & 4095); }

/* What a machine, or a part of a relay, does upon an event: the number of its transition, or -1. */
static int32_t next_of(Engine *E, int32_t state, int32_t event, int sampled, int64_t tx) {
  E->head.handled++;
  int32_t number = E->learned.table[(int64_t)state * E->learned.event_room + event];
  if (number < 0) number = ASK(E, learn(state, event));
  if (number < 0 || (sampled && ASK(E, replay(tx, number, state, event)) < 0)) { fail(E, 3); return -1; }
  E->learned.transition[number].taken++;
  return number;
}

static void handle(Engine *E, RunningMachine *actor, int32_t event, int64_t id) {
  if (id >= 0) { /* a delivery: which of those it knows already, or another one */
    int which = 0, held = E->learned.state_ids[actor->state];
    while (which < held && actor->id[which] != id) which++;
    if (which == held) which = NEW_ID;
    int32_t delivered = E->learned.delivery[event][which];
    if (delivered < 0) {
      delivered = ASK(E, delivery(event, which));
      if (delivered < 0) fail(E, 3);
      else E->learned.delivery[event][which] = delivered;
    }
    event = delivered;
  }
  int32_t number = event < 0 ? -1 : next_of(E, actor->state, event, is_sampled(E, actor->tx), actor->tx);
  if (number < 0) { actor->start = actor->pc = actor->end = 0; return; }
  Transition *transition = &E->learned.transition[number];
  int held = E->learned.state_ids[actor->state];
  actor->state = transition->state;
  actor->start = actor->pc = transition->start;
  actor->end = transition->end;
  actor->turns = 1;
  if (E->head.has_broker) {
    for (int i = 0; i < held; i++) actor->was[i] = actor->id[i];
    actor->was[NEW_ID] = id;
    for (int i = 0; i < transition->ids; i++) actor->id[i] = actor->was[transition->id[i]];
  }
}

static void play(Engine *E, RunningMachine *actor, int32_t event, int64_t id) {
  actor->phase = BUSY;
  handle(E, actor, event, id);
  go_on(E, actor);
}

/* Play one effect; 0 if the machine has to wait before its next one. */
static inline int play_effect(Engine *E, RunningMachine *actor, Effect effect) {
  int a = effect.a, b = effect.b, c = effect.c;
  switch (effect.op) {
  case DO_SEND: send(E, actor, a); return 1;
  case DO_APPEND:
    if (a) return append_forced(E, actor, b);
    append_lazily(E, actor, b);
    return 1;
  case DO_SET_TIMER: set_timer(E, actor, a, E->learned.number[b], E->learned.number[c]); return 1;
  case DO_CANCEL_TIMER: cancel_timer(E, actor, a); return 1;
  case DO_WORK: return work(E, actor, a);
  case DO_FORGET: forget(E, actor); return 1;
  case DO_COMMIT: return second_phase(E, actor, 1, 1);
  case DO_ROLLBACK: return second_phase(E, actor, 0, a);
  case DO_ANSWER:
    if (record(E, actor->tx)) answered(E, actor->tx, a);
    return 1;
  case DO_DECIDED:
    if (record(E, actor->tx)) decided(E, record(E, actor->tx), a, E->head.now);
    return 1;
  case DO_SUSPECT: suspect(E, actor, a); return 1;
  case DO_ALERT: alert(E, actor, a); return 1;
  case DO_PUBLISH: publish(E, actor, a, actor->tx, b, c); return 1;
  case DO_ACKNOWLEDGE: acknowledge(E, actor, a); return 1;
  case DO_LOG: ask_votes(E, actor, a, b, c); return 1;
  default: fail(E, 7); return 1;
  }
}

/* Crash the node if a fault was aimed at the effect that comes next, or at the moment after the one before it: `Node._injected` in Python. */
static int strikes(Engine *E, int number, const Effect *before, int64_t before_tx, const Effect *next, int64_t next_tx) {
  Node *node = &E->node[number];
  for (int i = 0; i < node->aims; i++) {
    Aim *aim = &node->aim[i];
    const Effect *effect = aim->before ? next : before;
    if (!effect || !(effect->aimed >> aim->pattern & 1) || (aim->before ? next_tx : before_tx) != aim->tx || --aim->remaining) continue;
    int32_t which = aim->number;
    for (int j = i + 1; j < node->aims; j++) node->aim[j - 1] = node->aim[j];
    node->aims--;
    if (ASK(E, strike(which)) < 0) fail(E, 3);
    return 1;
  }
  return 0;
}

/* On a host, whether the next effect waits for its process: what leaves the node does. */
static int takes_turn(Engine *E, RunningMachine *actor) {
  Process *process = &E->process[actor->node];
  if (!process->host || process->effect == 0.0 || !actor->turns || actor->pc >= actor->end) return 0;
  int op = E->learned.program[actor->pc].op;
  return op == DO_SEND || op == DO_PUBLISH || op == DO_LOG || op == DO_ACKNOWLEDGE || op == DO_ANSWER;
}

/* Whether a machine's node crashes before its next effect, or behind its last one; on a host there is time in between. */
static int is_struck(Engine *E, RunningMachine *actor) {
  if (actor->start == actor->end) return 0;
  Effect before = {0}, next = {0};
  int has_before = actor->pc > actor->start, has_next = actor->pc < actor->end;
  if (takes_turn(E, actor)) {
    has_before &= !actor->turned;
    has_next &= actor->turned;
  }
  if (has_before) before = E->learned.program[actor->pc - 1];
  if (has_next) next = E->learned.program[actor->pc];
  return strikes(E, actor->node, has_before ? &before : NULL, actor->tx, has_next ? &next : NULL, actor->tx);
}

/* On a host, what a machine sends leaves when its process has had the time for it: 1 if it waits for that. */
static int waits_for_turn(Engine *E, RunningMachine *actor) {
  Process *process = &E->process[actor->node];
  if (!takes_turn(E, actor)) return 0;
  if (actor->turned) { actor->turned = 0; return 0; }
  take_job(E, process, process->effect, 0.0, (Waiting){.kind = SENT, .thing = actor}, 1);
  return 1;
}

/* Nothing waits for the machine: a blank one holds no state, and the next event makes another one. */
static void goes_idle(Engine *E, RunningMachine *actor) {
  actor->phase = IDLE;
  if (!actor->alive) {
    recycle(E, actor);
  } else if (!actor->timers && E->learned.is_initial[actor->state] && actor->tx >= 0) {
    free_it(E, actor);
    recycle(E, actor);
  }
}

/* Play effects, or the rest of them, then whatever waits; return when the machine is idle or has to wait. `Node._run` in Python. */
static void go_on(Engine *E, RunningMachine *actor) {
  Head *H = &E->head;
  Node *node = &E->node[actor->node];
  uint32_t gen = actor->gen;
  while (!H->error) {
    while (actor->pc < actor->end && !H->error) {
      if (node->aims && is_struck(E, actor)) return;
      if (waits_for_turn(E, actor)) return;
      if (!play_effect(E, actor, E->learned.program[actor->pc++]) || actor->gen != gen) return;
    }
    if (H->error || (node->aims && is_struck(E, actor))) return;
    int32_t event;
    int64_t id = -1;
    if (actor->done >= 0) {
      event = actor->done;
      actor->done = -1;
    } else if (actor->head && actor->alive) {
      Mail *mail = actor->head;
      event = mail->event;
      id = mail->id;
      actor->head = mail->next;
      if (!actor->head) actor->tail = NULL;
      free_mail(E, mail);
    } else {
      goes_idle(E, actor);
      return;
    }
    handle(E, actor, event, id);
  }
}
