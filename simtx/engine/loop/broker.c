/* The broker: simtx.simulator.broker. */

enum { BUCKETS = 1 << 16, FEW = 1 << 8 }; /* of known ids; of parcels, to begin with */

/* The broker's word on a publication reaches its producer, who is a machine, or a courier of a relay. */
static void tell_producer(Engine *E, RunningMachine *actor, uint32_t gen, int64_t tx, int done, int32_t event) {
  if (!actor->alive || actor->gen != gen) return;
  Waiting what = {.kind = CONFIRM, .event = event, .gen = gen, .tx = tx, .number = done, .thing = actor};
  if (!takes_time(E, actor->node, what)) tell_now(E, what);
}

/* Likewise, and its process has had the time for it. */
static void tell_now(Engine *E, Waiting what) {
  RunningMachine *actor = what.thing;
  int64_t tx = what.tx;
  int32_t event = what.event;
  if (!actor->alive || actor->gen != what.gen) return;
  if (wait(E, actor->node, what)) return;
  if (actor->is_relay) relay_told(E, actor, tx, event);
  else notify(E, actor, event, -1);
}

static void confirm(Engine *E, Publication *publication, int done) {
  tell_producer(E, publication->actor, publication->gen, publication->tx, done, done ? publication->on_done : publication->on_failed);
}

static void receive_delivery(Engine *E, int64_t tx, int32_t event, int64_t id) {
  int node = E->learned.event_node[event];
  Waiting what = {.kind = DELIVER, .event = event, .tx = tx, .number = id};
  if (E->node[node].up && !takes_time(E, node, what)) delivered(E, what);
}

/* Likewise, and its process has had the time for it. */
static void delivered(Engine *E, Waiting what) {
  int64_t tx = what.tx, id = what.number;
  int32_t event = what.event;
  int node = E->learned.event_node[event];
  if (!E->node[node].up || wait(E, node, what)) return;
  RunningMachine *actor = actor_of(E, tx, node);
  if (!actor) actor = spawn(E, tx, node);
  actor->undated = 1;
  notify(E, actor, event, id);
}

static void let_publication(Engine *E, Publication *publication) {
  if (--publication->refs == 0) free_publication(E, publication);
}

static void leave_producer(Engine *E, Publication *publication) {
  if (publication->epoch != E->node[publication->node].disk.epoch) return;
  if (wait(E, publication->node, (Waiting){.kind = LEAVE, .thing = publication})) {
    publication->refs++;
    return;
  }
  publication->refs += transmit(E, link_of(E, publication->node, BROKER), AT_THE_BROKER, publication, 0, publication->tx);
}

/* Take a message from a producer's hands: the bytes leave after the linger time. */
static void publish(Engine *E, RunningMachine *actor, int32_t event, int64_t tx, int32_t on_done, int32_t on_failed) {
  Transaction *T = record(E, tx);
  if (T) T->broker_messages++;
  Publication *publication = new_publication(E);
  Token *token = new_token(E);
  *publication = (Publication){actor, actor->gen, actor->node, event, on_done, on_failed, 2, 1, E->node[actor->node].disk.epoch, tx, token, NULL};
  token->owner = publication;
  token->kind = PUBLISH_TIMEOUT;
  start_timer(E, token, E->head.publish_timeout, (Jitter){0});
  double linger = draw(E, E->head.linger, tx);
  if (linger > 0) {
    call_in(E, linger, LEAVE, publication, 0);
  } else {
    leave_producer(E, publication);
    let_publication(E, publication);
  }
}

static void time_out(Engine *E, Publication *publication) {
  publication->timeout = NULL;
  if (publication->open) {
    publication->open = 0;
    confirm(E, publication, 0);
  }
  let_publication(E, publication);
}

/* A delivery leaves for its consumer. */
static void pass_on(Engine *E, Waiting what) {
  transmit(E, link_of(E, BROKER, E->learned.event_node[what.event]), DELIVER, (void *)(intptr_t)what.number, what.tx << 24 | what.event, what.tx);
}

static void deliver(Engine *E, Parcel *parcel) {
  Transaction *T = record(E, parcel->tx);
  if (E->node[parcel->node].up && parcel->sent) {
    E->head.redelivered++;
    if (T) T->retries++;
  }
  if (E->node[parcel->node].up) parcel->sent = 1;
  if (E->node[parcel->node].up) {
    Waiting what = {.kind = PASS_ON, .event = parcel->event, .tx = parcel->tx, .number = parcel->id};
    Process *process = &E->process[BROKER];
    if (process->host) take_job(E, process, process->effect, 0.0, what, 1);
    else pass_on(E, what);
  }
  Token *token = parcel->timer = new_token(E);
  token->owner = parcel;
  token->kind = REDELIVERY;
  start_timer(E, token, E->head.redelivery, (Jitter){0});
}

static void remove_parcel(Engine *E, Parcel *parcel) {
  Parcel **at = &E->parcel[parcel->id & (E->buckets - 1)];
  while (*at != parcel) at = &(*at)->next;
  *at = parcel->next;
  E->head.parcels--;
  E->node[parcel->node].held--;
  if (parcel->timer) stop_timer(E, parcel->timer);
  if (E->head.in_order) {
    Place *place = have_place(E, parcel->tx, parcel->node);
    Parcel **one = &place->head, *last = NULL;
    int first = place->head == parcel;
    while (*one && *one != parcel) { last = *one; one = &(*one)->behind; }
    if (*one) *one = parcel->behind;
    if (place->tail == parcel) place->tail = last;
    Parcel *next = place->head;
    if (!next) drop_place(E, parcel->tx, parcel->node);
    else if (first) deliver(E, next);
  }
  free_parcel(E, parcel);
}

static void redeliver(Engine *E, Parcel *parcel) {
  parcel->timer = NULL;
  if (!E->head.broker_up) return;
  if (E->head.has_retention && E->head.now - parcel->stored > E->head.retention) {
    E->head.lost++;
    remove_parcel(E, parcel);
  } else {
    deliver(E, parcel);
  }
}

static int is_duplicate(Engine *E, int64_t tx, int32_t event) {
  double now = E->head.now, window = E->head.deduplication;
  if (window <= 0) return 0;
  while (E->seen_first && !(E->seen_first->since >= now - window)) {
    Seen *old = E->seen_first, **at = &E->seen_at[mix(old->tx, old->event) & (BUCKETS - 1)];
    while (*at != old) at = &(*at)->next;
    *at = old->next;
    E->seen_first = old->behind;
    if (!E->seen_first) E->seen_last = NULL;
    free_seen(E, old);
  }
  Seen **bucket = &E->seen_at[mix(tx, event) & (BUCKETS - 1)];
  for (Seen *one = *bucket; one; one = one->next)
    if (one->tx == tx && one->event == event) return 1;
  Seen *one = new_seen(E);
  *one = (Seen){tx, event, 0, now, *bucket, NULL};
  *bucket = one;
  ENQUEUE(E->seen_first, E->seen_last, one, behind);
  return 0;
}

static void put_parcel(Engine *E, Parcel *parcel) {
  if (E->head.parcels >= E->buckets) { /* an outage: many wait */
    Parcel **old = E->parcel;
    int64_t count = E->buckets;
    E->buckets *= 2;
    E->parcel = slab(E, (size_t)E->buckets * sizeof(Parcel *));
    for (int64_t i = 0; i < count; i++)
      for (Parcel *one = old[i], *next; one; one = next) {
        next = one->next;
        Parcel **bucket = &E->parcel[one->id & (E->buckets - 1)];
        one->next = *bucket;
        *bucket = one;
      }
  }
  Parcel **bucket = &E->parcel[parcel->id & (E->buckets - 1)];
  parcel->next = *bucket;
  *bucket = parcel;
}

static void turn_away(Engine *E, Publication *publication) {
  publication->refs += transmit(E, link_of(E, BROKER, publication->node), TURN_AWAY, publication, 0, publication->tx);
}

static void store_message(Engine *E, Publication *publication) {
  if (!E->head.broker_up) { turn_away(E, publication); return; }
  int64_t tx = publication->tx;
  int32_t event = publication->event;
  if (!is_duplicate(E, tx, event)) {
    Parcel *parcel = new_parcel(E);
    *parcel = (Parcel){.id = E->head.next_parcel++, .tx = tx, .event = event, .node = E->learned.event_node[event], .stored = E->head.now};
    put_parcel(E, parcel);
    E->head.parcels++;
    E->node[parcel->node].held++;
    int first = 1;
    parcel->lane = E->next_lane++;
    if (E->head.in_order) {
      Place *place = have_place(E, tx, parcel->node);
      first = !place->head;
      if (first) place->head = parcel;
      else { place->tail->behind = parcel; parcel->lane = place->head->lane; }
      place->tail = parcel;
    }
    if (first) deliver(E, parcel);
  }
  publication->refs += transmit(E, link_of(E, BROKER, publication->node), CONFIRM, publication, 0, tx);
}

static void settle_publication(Engine *E, Publication *publication, int done) {
  if (!publication->open) return;
  publication->open = 0;
  if (publication->timeout) {
    stop_timer(E, publication->timeout);
    publication->timeout = NULL;
    publication->refs--; /* the token's: the caller holds another one */
  }
  confirm(E, publication, done);
}

static void acknowledged(Engine *E, int64_t id) {
  for (Parcel *parcel = E->parcel[id & (E->buckets - 1)]; parcel; parcel = parcel->next)
    if (parcel->id == id) {
      if (E->head.broker_up) remove_parcel(E, parcel);
      return;
    }
}

/* A publication reaches the broker; on a host, it takes the time of its process first. */
static void taken(Engine *E, Publication *publication) {
  if (E->head.broker_up) {
    if (E->head.deduplication > 0) __builtin_prefetch(&E->seen_at[mix(publication->tx, publication->event) & (BUCKETS - 1)]);
    call_in(E, draw(E, E->head.acknowledgement, publication->tx), STORE, publication, 0);
    return;
  }
  turn_away(E, publication);
  let_publication(E, publication);
}

static void at_the_broker(Engine *E, Publication *publication) {
  if (!E->head.broker_up || !takes_time(E, BROKER, (Waiting){.kind = TAKEN, .thing = publication})) taken(E, publication);
}

/* Stop answering. Acked in memory only means: lost now, and so are the ids by which repetitions are known. */
EXPORT void engine_broker_crash(Engine *E, int memory, int keeps_all, int keeps_stored) {
  GUARD(E, )
  E->head.broker_up = 0;
  crash_process(E, &E->process[BROKER]);
  for (int64_t i = 0; i < E->buckets; i++)
    for (Parcel *parcel = E->parcel[i], *next; parcel; parcel = next) {
      next = parcel->next;
      parcel->sent = 0;
      if (parcel->timer) stop_timer(E, parcel->timer);
      parcel->timer = NULL;
      if (memory) {
        E->head.lost++;
        E->node[parcel->node].held--;
        if (E->head.in_order) {
          Place *place = have_place(E, parcel->tx, parcel->node);
          place->head = place->tail = NULL;
          drop_place(E, parcel->tx, parcel->node);
        }
        free_parcel(E, parcel);
      } else if (keeps_stored) {
        for (Seen *one = E->seen_at[mix(parcel->tx, parcel->event) & (BUCKETS - 1)]; one; one = one->next)
          if (one->tx == parcel->tx && one->event == parcel->event) one->kept = 1;
      }
    }
  if (memory) {
    memset(E->parcel, 0, (size_t)E->buckets * sizeof(Parcel *));
    E->head.parcels = 0;
  }
  if (keeps_all) return;
  Seen *all = E->seen_first;
  E->seen_first = E->seen_last = NULL;
  memset(E->seen_at, 0, BUCKETS * sizeof(Seen *));
  while (all) {
    Seen *one = all;
    all = one->behind;
    one->behind = NULL;
    if (!one->kept) { free_seen(E, one); continue; }
    one->kept = 0;
    Seen **bucket = &E->seen_at[mix(one->tx, one->event) & (BUCKETS - 1)];
    one->next = *bucket;
    *bucket = one;
    ENQUEUE(E->seen_first, E->seen_last, one, behind);
  }
}

static int by_lane(const void *a, const void *b) {
  int64_t one = (*(Parcel *const *)a)->lane, other = (*(Parcel *const *)b)->lane;
  return (one > other) - (one < other);
}

/* The first message of each lane, of one consumer or, if that is negative, of all, in the order in which lanes were begun. */
static Parcel **first_of_lanes(Engine *E, int consumer, int64_t *count) {
  Parcel **first = borrow(E, ((size_t)E->head.parcels + 1) * sizeof(Parcel *));
  *count = 0;
  for (int64_t i = 0; i < E->buckets; i++)
    for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next)
      if ((consumer < 0 || parcel->node == consumer) && (!E->head.in_order || have_place(E, parcel->tx, parcel->node)->head == parcel)) first[(*count)++] = parcel;
  qsort(first, (size_t)*count, sizeof(Parcel *), by_lane);
  return first;
}

/* Answer again, and deliver what waits. */
EXPORT void engine_broker_restart(Engine *E) {
  GUARD(E, )
  int64_t count;
  Parcel **first = first_of_lanes(E, -1, &count);
  E->head.broker_up = 1;
  for (int64_t i = 0; i < count; i++) deliver(E, first[i]);
  free(first);
}

/* A consumer has come back: what waits for it is delivered at once, what it had not acknowledged included. */
EXPORT void engine_connected(Engine *E, int number) {
  GUARD(E, )
  if (!E->head.broker_up) return;
  int64_t count;
  Parcel **first = first_of_lanes(E, number, &count);
  for (int64_t i = 0; i < count; i++) {
    if (first[i]->timer) stop_timer(E, first[i]->timer);
    redeliver(E, first[i]);
  }
  free(first);
}
