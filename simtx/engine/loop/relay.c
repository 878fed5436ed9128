/*
 * The relay of an outbox: simtx.protocols.relay. It hands rows to couriers, and what happens to its parts; what these do is learned, as of all machines.
 * The poller's state is that of the relay's actor, a courier's that of its row.
 */

static void to_poller(Engine *E, Actor *actor, int32_t event);

enum { POLLED = 64 }; /* events of a poller that the real one plays, too, after each start */

/* Whether the node crashes before this effect of the list that is being played, or behind the one before it; NULL: the list is at its end. */
static int is_struck_at(Engine *E, Actor *actor, const Effect *next, int64_t tx) {
  Relay *relay = &E->node[actor->node].relay;
  if (!E->node[actor->node].aims) return 0;
  Effect played = relay->played;
  int struck = strikes(E, actor->node, relay->has_played ? &played : NULL, relay->played_for, next, tx);
  if (struck) return 1;
  relay->has_played = next != NULL;
  if (next) {
    relay->played = *next;
    relay->played_for = tx;
  }
  return 0;
}

/* A crash ends the relay. */
static int is_over(Engine *E, Actor *actor) { return E->head.error || E->node[actor->node].relay.actor != actor; }

/* What a part does next: the number of its transition, or -1. */
static int32_t next_of(Engine *E, int32_t state, int32_t event, int sampled, int64_t tx) {
  int32_t number = E->learned.table[(int64_t)state * E->learned.event_room + event];
  if (number < 0) number = ASK(E, learn(state, event));
  if (number < 0 || (sampled && ASK(E, replay(tx, number, state, event)) < 0)) { fail(E, 3); return -1; }
  E->learned.transition[number].taken++;
  return number;
}

/* Something happens to the courier of the first row of a transaction. */
static void to_courier(Engine *E, Actor *actor, int64_t tx, int32_t event) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  Place *place = find_place(E, tx, actor->node);
  if (!place || !place->flying) { fail(E, 9); return; }
  Row *row = place->flying, *behind = row->behind;
  int32_t number = next_of(E, row->courier, event, is_sampled(E, tx), tx);
  if (number < 0) return;
  Transition *transition = &E->learned.transition[number];
  int told = 0, marked = 0, over = 0, end = transition->end;
  row->courier = transition->state;
  for (int pc = transition->start; pc < end; pc++) {
    Effect effect = E->learned.program[pc];
    if (effect.op != DO_TELL && effect.op != DO_FORGET && is_struck_at(E, actor, &effect, tx)) return;
    switch (effect.op) {
    case DO_PUBLISH: publish(E, actor, effect.a, tx, effect.b, effect.c); break;
    case DO_MARK:
      if (relay->reading || relay->handing) { fail(E, 9); return; } /* the rows that are read are those before the mark */
      marked = 1;
      find_place(E, tx, actor->node)->flying = behind;
      mark_row(E, node, row);
      break;
    case DO_TELL:
      told = 1;
      to_poller(E, actor, effect.a);
      break;
    case DO_FORGET: over = 1; break;
    case DO_ALERT: E->head.alerts++; break;
    default: fail(E, 7);
    }
    if (is_over(E, actor)) return;
  }
  if (!over) {
    if (!told) return;
    Held *held = new_held(E);
    *held = (Held){tx, NULL};
    if (relay->last) relay->last->next = held;
    else relay->held = held;
    relay->last = held;
    return;
  }
  relay->known--;
  if (!marked) { /* it may be read again */
    row->courier = NOBODY;
    row->behind = NULL;
    find_place(E, tx, actor->node)->flying = behind;
  }
  if (behind) {
    to_courier(E, actor, tx, relay->go);
    return;
  }
  drop_place(E, tx, actor->node);
  if (!relay->known) to_poller(E, actor, relay->idle);
}

/* The poller tells all couriers that wait. */
static void to_all(Engine *E, Actor *actor, int32_t event) {
  Relay *relay = &E->node[actor->node].relay;
  Held *held = relay->held;
  relay->held = relay->last = NULL;
  while (held) {
    Held *next = held->next;
    if (!is_over(E, actor)) to_courier(E, actor, held->tx, event);
    free_held(E, held);
    held = next;
  }
}

/* Something happens to the poller. */
static void to_poller(Engine *E, Actor *actor, int32_t event) {
  Relay *relay = &E->node[actor->node].relay;
  int32_t number = next_of(E, actor->state, event, relay->followed < POLLED && ++relay->followed, actor->tx);
  if (number < 0) return;
  Transition *transition = &E->learned.transition[number];
  int end = transition->end;
  actor->state = transition->state;
  for (int pc = transition->start; pc < end; pc++) {
    Effect effect = E->learned.program[pc];
    if (effect.op != DO_TELL && is_struck_at(E, actor, &effect, actor->tx)) return;
    switch (effect.op) {
    case DO_SET_TIMER: set_timer(E, actor, effect.a, E->learned.number[effect.b], E->learned.number[effect.c]); break;
    case DO_CANCEL_TIMER: cancel_timer(actor, effect.a); break;
    case DO_READ:
      relay->reading = 1;
      relay->limit = effect.a;
      relay->below_horizon = effect.b;
      if (effect.b) E->node[actor->node].keeps_horizon = 1;
      break;
    case DO_TELL: to_all(E, actor, effect.a); break;
    case DO_ALERT: E->head.alerts++; break;
    default: fail(E, 7);
    }
    if (is_over(E, actor)) return;
  }
}

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
static void take_up(Engine *E, Actor *actor, Row *row) {
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
static void hand_out(Engine *E, Actor *actor) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  while (!is_over(E, actor) && !is_struck_at(E, actor, NULL, 0) && relay->reading) {
    int64_t horizon = relay->below_horizon ? horizon_of(E, actor->node) : INT64_MAX;
    int count = 0;
    relay->handing = 1;
    for (Row *row = node->first_row; row && count < relay->limit && row->writer < horizon; row = row->next) count++;
    relay->reading = 0;
    to_poller(E, actor, count >= relay->limit ? relay->full : relay->part);
    Row *row = node->first_row;
    for (int i = 0; i < count && !is_over(E, actor); i++) {
      Row *next = row->next;
      if (is_new(relay, row)) take_up(E, actor, row);
      row = next;
    }
    if (is_over(E, actor)) return;
    relay->handing = 0;
  }
}

static void relay_told(Engine *E, Actor *actor, int32_t event) {
  to_poller(E, actor, event);
  hand_out(E, actor);
}

static void relay_published(Engine *E, Actor *actor, int64_t tx, int32_t event) {
  to_courier(E, actor, tx, event);
  hand_out(E, actor);
}

/* Start the relay of a node; `events`: start, wake, go, idle, and the ends of a read: full, part. */
EXPORT void engine_start_relay(Engine *E, int number, int state, int ordered, const int32_t *events) {
  GUARD(E, )
  Relay *relay = &E->node[number].relay;
  Actor *actor = new_actor(E);
  memset(actor->timer, 0, sizeof actor->timer);
  actor->tx = -1;
  actor->node = number;
  actor->state = state;
  actor->is_relay = actor->alive = 1;
  actor->timers = 0;
  *relay = (Relay){.actor = actor, .ordered = ordered, .writer = -1, .number = -1};
  relay->wake = events[1];
  relay->go = events[2];
  relay->idle = events[3];
  relay->full = events[4];
  relay->part = events[5];
  relay_told(E, actor, events[0]);
}
