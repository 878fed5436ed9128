/*
 * The relay of an outbox: simtx.protocols.relay. It hands rows to couriers, and what happens to its parts; what these do is learned, as of all machines.
 * The poller's state is that of the relay's actor, a courier's that of its row. What they ask for at one event is a list, which is played then.
 */

static void to_poller(Engine *E, RunningMachine *actor, int32_t event);

enum { POLLED = 64 }; /* events of a poller that the real one plays, too, after each start */

/* --- its parts ------------------------------------------------------------------------------------------------------------------------------ */

/* One more effect that is to be played. */
static void list(Engine *E, Relay *relay, Effect effect, int64_t tx, Row *row) {
  GROW(relay->listed, relay->count, relay->room, 1)
  relay->listed[relay->count++] = (Listed){effect, tx, row};
}

/* Something happens to the courier of the first row of a transaction. */
static void to_courier(Engine *E, RunningMachine *actor, int64_t tx, int32_t event) {
  Relay *relay = &E->node[actor->node].relay;
  Place *place = find_place(E, tx, actor->node);
  if (!place || !place->flying) { fail(E, 9); return; }
  Row *row = place->flying, *behind = row->behind;
  int32_t number = next_of(E, row->courier, event, is_sampled(E, tx), tx);
  if (number < 0) return;
  Transition transition = E->learned.transition[number];
  int told = 0, over = 0;
  row->courier = transition.state;
  for (int pc = transition.start; pc < transition.end && !E->head.error; pc++) {
    Effect effect = E->learned.program[pc];
    if (effect.op == DO_TELL) {
      told = 1;
      to_poller(E, actor, effect.a);
    } else if (effect.op == DO_FORGET) {
      over = 1;
    } else {
      list(E, relay, effect, tx, row);
    }
  }
  if (E->head.error) return;
  if (!over) {
    if (!told) return;
    Held *held = new_held(E);
    *held = (Held){tx, NULL};
    ENQUEUE(relay->held, relay->last, held, next);
    return;
  }
  relay->known--;
  row->courier = NOBODY; /* unless it is marked, it may be read again */
  row->behind = NULL;
  find_place(E, tx, actor->node)->flying = behind;
  if (behind) {
    to_courier(E, actor, tx, relay->go);
    return;
  }
  drop_place(E, tx, actor->node);
  if (!relay->known) to_poller(E, actor, relay->idle);
}

/* From the poller to all couriers that wait. */
static void to_all(Engine *E, RunningMachine *actor, int32_t event) {
  Relay *relay = &E->node[actor->node].relay;
  Held *held = relay->held;
  relay->held = relay->last = NULL;
  while (held) {
    Held *next = held->next;
    if (!E->head.error) to_courier(E, actor, held->tx, event);
    free_held(E, held);
    held = next;
  }
}

/* Something happens to the poller. */
static void to_poller(Engine *E, RunningMachine *actor, int32_t event) {
  Relay *relay = &E->node[actor->node].relay;
  int32_t number = next_of(E, actor->state, event, relay->followed < POLLED && ++relay->followed, actor->tx);
  if (number < 0) return;
  Transition transition = E->learned.transition[number];
  actor->state = transition.state;
  for (int pc = transition.start; pc < transition.end && !E->head.error; pc++) {
    Effect effect = E->learned.program[pc];
    if (effect.op == DO_TELL) to_all(E, actor, effect.a);
    else list(E, relay, effect, actor->tx, NULL);
  }
}

/* --- rows ----------------------------------------------------------------------------------------------------------------------------------- */

/* Whether a row is new to the relay. */
static int is_new(Relay *relay, Row *row) {
  if (!relay->ordered) return row->courier == NOBODY;
  int64_t writer = relay->below_horizon ? row->writer : 0;
  if (writer < relay->writer || (writer == relay->writer && row->number <= relay->number)) return 0;
  relay->writer = writer;
  relay->number = row->number;
  return 1;
}

/* The state of a courier who is given a message; -1: there is none. */
static int32_t courier_of(Engine *E, int node, int32_t message) {
  if (E->learned.event_sender[message] == node && E->learned.courier[message] >= 0) return E->learned.courier[message];
  int32_t state = ASK(E, courier(node, message));
  if (state < 0) fail(E, 3);
  else if (E->learned.event_sender[message] == node) E->learned.courier[message] = state;
  return state;
}

/* A row that was read gets a courier, who goes at once if it is the first of its transaction. */
static void take_up(Engine *E, RunningMachine *actor, Row *row) {
  Relay *relay = &E->node[actor->node].relay;
  row->courier = courier_of(E, actor->node, row->event);
  if (row->courier < 0) return;
  row->behind = NULL;
  relay->known++;
  Place *place = have_place(E, row->tx, actor->node);
  if (!place->flying) {
    place->flying = row;
    to_courier(E, actor, row->tx, relay->go);
    return;
  }
  Row *last = place->flying;
  while (last->behind) last = last->behind;
  last->behind = row;
}

/* Hand out the rows that the poller has asked for. */
static void hand_out(Engine *E, RunningMachine *actor) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  int64_t horizon = relay->below_horizon ? horizon_of(E, actor->node) : INT64_MAX;
  int count = 0;
  for (Row *row = node->first_row; row && count < relay->limit && row->writer < horizon; row = row->next) count++;
  relay->reading = 0;
  to_poller(E, actor, count >= relay->limit ? relay->full : relay->part);
  Row *row = node->first_row;
  for (int i = 0; i < count && !E->head.error; i++, row = row->next)
    if (is_new(relay, row)) take_up(E, actor, row);
}

/* --- what they ask for ---------------------------------------------------------------------------------------------------------------------- */

static void play_listed(Engine *E, RunningMachine *actor, Listed *one) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  Effect effect = one->effect;
  switch (effect.op) {
  case DO_PUBLISH: publish(E, actor, effect.a, one->tx, effect.b, effect.c); break;
  case DO_MARK:
    if (relay->reading) { fail(E, 9); break; } /* the rows that are read are those before the mark */
    if (E->process[actor->node].host) aside(E, &E->process[actor->node], E->process[actor->node].mark_aside);
    mark_row(E, node, one->row);
    break;
  case DO_SET_TIMER: set_timer(E, actor, effect.a, E->learned.number[effect.b], E->learned.number[effect.c]); break;
  case DO_CANCEL_TIMER: cancel_timer(E, actor, effect.a); break;
  case DO_READ:
    relay->reading = 1;
    relay->limit = effect.a;
    relay->below_horizon = effect.b;
    if (effect.b) node->keeps_horizon = 1;
    break;
  case DO_ALERT: E->head.alerts++; break;
  default: fail(E, 7);
  }
}

/* On a host, whether the next effect waits for its process: a publication does. */
static int list_takes_turn(Engine *E, RunningMachine *actor, Relay *relay) {
  Process *process = &E->process[actor->node];
  return process->host && process->effect != 0.0 && relay->at < relay->count && relay->listed[relay->at].effect.op == DO_PUBLISH;
}

/* Whether an aimed crash strikes before the next effect of the list, or behind the last one. */
static int list_is_struck(Engine *E, RunningMachine *actor) {
  Relay *relay = &E->node[actor->node].relay;
  if (!E->node[actor->node].aims || !relay->count) return 0;
  Listed before = {0}, next = {0};
  int has_before = relay->at > 0, has_next = relay->at < relay->count;
  if (list_takes_turn(E, actor, relay)) { /* there is time in between */
    has_before &= !actor->turned;
    has_next &= actor->turned;
  }
  if (has_before) before = relay->listed[relay->at - 1];
  if (has_next) next = relay->listed[relay->at];
  return strikes(E, actor->node, has_before ? &before.effect : NULL, before.tx, has_next ? &next.effect : NULL, next.tx);
}

/* On a host, a publication leaves when the process has had the time for it: 1 if it waits for that. */
static int list_waits_for_turn(Engine *E, RunningMachine *actor, Relay *relay) {
  Process *process = &E->process[actor->node];
  if (!list_takes_turn(E, actor, relay)) return 0;
  if (actor->turned) { actor->turned = 0; return 0; }
  if (relay->reading) fail(E, 9); /* the rows that are read are those of now */
  take_job(E, process, process->effect, 0.0, (Waiting){.kind = SENT, .thing = actor}, 1);
  return 1;
}

/* Play the list, then what it has caused, then whatever waits. */
static void relay_goes_on(Engine *E, RunningMachine *actor) {
  Relay *relay = &E->node[actor->node].relay;
  while (!E->head.error) {
    while (relay->at < relay->count && !E->head.error) {
      if (list_is_struck(E, actor) || list_waits_for_turn(E, actor, relay)) return;
      Listed one = relay->listed[relay->at++];
      play_listed(E, actor, &one);
    }
    if (E->head.error || list_is_struck(E, actor)) return;
    relay->at = relay->count = 0;
    if (relay->reading) {
      hand_out(E, actor);
    } else if (actor->head) {
      Mail *mail = actor->head;
      actor->head = mail->next;
      if (!actor->head) actor->tail = NULL;
      if (mail->id < 0) to_poller(E, actor, mail->event);
      else to_courier(E, actor, mail->id, mail->event);
      free_mail(E, mail);
    } else {
      actor->phase = IDLE;
      return;
    }
  }
}

/* An event happens to the relay: to its poller, or to the courier of a transaction. */
static void relay_told(Engine *E, RunningMachine *actor, int64_t tx, int32_t event) {
  post(E, actor, event, tx);
  if (actor->phase) return;
  actor->phase = BUSY;
  relay_goes_on(E, actor);
}

/* A local transaction has committed rows. */
static void wake_now(Engine *E, Waiting what) {
  RunningMachine *actor = what.thing;
  if (actor->gen == what.gen && !E->node[what.number].paused) relay_told(E, actor, -1, E->node[what.number].relay.wake);
}

static void wake(Engine *E, Waiting what) {
  if (!takes_time(E, (int)what.number, what)) wake_now(E, what);
}

/* Start the relay of a node; `events`: start, wake, go, idle, and the ends of a read: full, part. */
EXPORT void engine_start_relay(Engine *E, int number, int state, int ordered, const int32_t *events) {
  GUARD(E, )
  Relay *relay = &E->node[number].relay;
  RunningMachine *actor = new_actor(E);
  *actor = (RunningMachine){.tx = -1, .node = number, .state = state, .is_relay = 1, .alive = 1, .gen = actor->gen};
  *relay = (Relay){.actor = actor, .ordered = ordered, .writer = -1, .number = -1, .listed = relay->listed, .room = relay->room};
  relay->wake = events[1];
  relay->go = events[2];
  relay->idle = events[3];
  relay->full = events[4];
  relay->part = events[5];
  relay_told(E, actor, -1, events[0]);
}
