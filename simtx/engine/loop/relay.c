/* The relay of an outbox: simtx.protocols.relay, with the reader "marks"; the one protocol that is written here once more. */

static void relay_publish(Engine *E, Actor *actor, Row *row) { publish(E, actor, row->event, row->tx, -1, -1); }

/* Read unmarked rows, and publish the first of each transaction that is not on its way already. */
static void relay_reads(Engine *E, Actor *actor) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  int count = 0;
  for (Row *row = node->first_row; row && count < relay->batch; row = row->next) count++;
  relay->more = count >= relay->batch;
  Row *row = node->first_row;
  for (int i = 0; i < count; i++, row = row->next) {
    if (row->known) continue;
    row->known = 1;
    row->behind = NULL;
    relay->known++;
    Place *place = have_place(E, row->tx, actor->node);
    if (!place->flying) {
      place->flying = row;
      relay_publish(E, actor, row);
    } else {
      Row *last = place->flying;
      while (last->behind) last = last->behind;
      last->behind = row;
    }
  }
}

static void relay_published(Engine *E, Actor *actor, int64_t tx, int done) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  Place *place = find_place(E, tx, actor->node);
  Row *row = place ? place->flying : NULL;
  if (!row) { fail(E, 9); return; }
  if (!done) {
    Held *held = new_held(E);
    *held = (Held){tx, NULL};
    if (relay->last) relay->last->next = held;
    else relay->held = held;
    relay->last = held;
    if (relay->backing_off) return;
    relay->backing_off = 1;
    set_timer(E, actor, BACKOFF, 0.0, relay->bound[relay->rounds < 65 ? relay->rounds : 65]);
    return;
  }
  relay->rounds = 0;
  relay->known--;
  Row *next = row->behind;
  place->flying = next;
  mark_row(E, node, row);
  if (next) {
    relay_publish(E, actor, next);
    return;
  }
  drop_place(E, tx, actor->node);
  if (relay->more && !relay->known) {
    relay->more = 0;
    relay_reads(E, actor);
  }
}

static void relay_rings(Engine *E, Actor *actor, int kind) {
  Relay *relay = &E->node[actor->node].relay;
  if (kind == POLL) {
    set_timer(E, actor, POLL, relay->interval, 0.0);
    relay_reads(E, actor);
    return;
  }
  relay->backing_off = 0;
  relay->rounds++;
  Held *held = relay->held;
  relay->held = relay->last = NULL;
  while (held) {
    Held *next = held->next;
    Place *place = find_place(E, held->tx, actor->node);
    if (place && place->flying) relay_publish(E, actor, place->flying);
    free_held(E, held);
    held = next;
  }
  if (relay->rounds == relay->alert_after) E->head.alerts++;
}

EXPORT void engine_start_relay(Engine *E, int number, double interval, int batch, int alert_after, const double *bounds) {
  GUARD(E, )
  Relay *relay = &E->node[number].relay;
  Actor *actor = new_actor(E);
  memset(actor->timer, 0, sizeof actor->timer);
  actor->tx = -1;
  actor->node = number;
  actor->is_relay = actor->alive = 1;
  actor->timers = 0;
  relay->actor = actor;
  relay->interval = interval;
  relay->batch = batch;
  relay->alert_after = alert_after;
  memcpy(relay->bound, bounds, sizeof relay->bound);
  set_timer(E, actor, POLL, 0.0, interval);
  relay_reads(E, actor);
}
