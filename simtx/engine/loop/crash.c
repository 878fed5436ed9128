/* Outages, crashes and restarts: the end of simtx.simulator.node. */

/* The store and the log stop answering. */
EXPORT void engine_begin_outage(Engine *E, int number) { E->node[number].outage = E->node[number].disk.stalled = 1; }

/* They answer again. */
EXPORT void engine_end_outage(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  node->outage = 0;
  resume_disk(E, number);
  Work *stalled = node->first_stalled;
  node->first_stalled = node->last_stalled = NULL;
  while (stalled) {
    Work *work = stalled;
    stalled = work->next;
    if (work->actor->alive && work->actor->gen == work->gen) submit_made(E, work);
    else end_work(E, work);
  }
}

static void crash_store(Engine *E, int number) {
  Node *node = &E->node[number];
  double now = E->head.now;
  for (int key = node->chain[WAITED].first; key >= 0; key = E->key[key].in[WAITED].next) {
    Key *row = &E->key[key];
    for (Work *work = row->head, *next; work; work = next) {
      next = work->queued;
      work->waits_for = -1;
      end_wait(E, work);
    }
    row->head = row->tail = NULL;
  }
  node->lock_queue = 0;
  E->seen++;
  for (int key = node->chain[LOCKED].first; key >= 0; key = E->key[key].in[LOCKED].next) {
    Work *work = E->key[key].owner;
    Place *place = find_place(E, work->tx, number);
    if (work->seen == E->seen || (place && place->prepared == work)) continue;
    work->seen = E->seen;
    int count = 0;
    for (int i = 0; i < work->keys; i++) count += E->key[work->locked[i]].owner == work;
    count_locks(E, work, count);
  }
  for (int key = node->chain[LOCKED].first; key >= 0; key = E->key[key].in[LOCKED].next) E->key[key].owner = NULL;
  memset(node->chain, -1, sizeof node->chain);
  node->owners = node->open = 0;
  clear_station(&node->lock_waits, now);
  while (node->first_rolled) {
    Rolled *rolled = node->first_rolled;
    Work *branch = rolled->branch;
    node->first_rolled = rolled->next;
    if (survives(E, node, rolled->since)) {
      let_work(E, branch);
    } else { /* the word of the rollback is lost: in doubt again, by a branch that lives on */
      branch->ended = 0;
      add_prepared(E, branch);
      branch->locked_from = now * branch->keys;
      branch->prepared_since = now;
    }
    free_rolled(E, rolled);
  }
  node->last_rolled = NULL;
  for (Work *branch = node->first_prepared; branch; branch = branch->later)
    for (int i = 0; i < branch->keys; i++) {
      int key = branch->locked[i];
      if (!E->key[key].owner) {
        node->owners++;
        link_row(E, key, LOCKED);
      }
      E->key[key].owner = branch;
    }
  while (node->first_begun) leave_begun(node, node->first_begun);
  while (node->first_mark) {
    Row *row = node->first_mark;
    node->first_mark = row->next;
    if (!buffered(E, node, row->marked)) { free_row(E, row); continue; }
    row->courier = NOBODY;
    row->behind = NULL;
    show_row(node, row);
  }
  node->last_mark = NULL;
}

static void drop_mail(Engine *E, RunningMachine *actor) {
  while (actor->head) {
    Mail *next = actor->head->next;
    free_mail(E, actor->head);
    actor->head = next;
  }
  actor->tail = NULL;
}

static void kill_actor(Engine *E, RunningMachine *actor) {
  actor->alive = 0;
  cancel_timers(E, actor);
  drop_mail(E, actor);
  recycle(E, actor);
}

EXPORT void engine_crash(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  Pool *pool = &node->pool;
  double now = E->head.now;
  int64_t count;
  stop_starting(E, number);
  if (!node->up) return;
  crash_process(E, &E->process[number]);
  node->up = node->paused = 0;
  int64_t *known = places_of(E, number, &count);
  for (int64_t i = 0; i < count; i++) {
    Place *place = find_place(E, known[i], number);
    place->records = left_of(E, node, place->records, &place->last_record);
    if (known[i] >= 0 && !place->records) E->tx[known[i]].durable &= ~(1u << number);
  }
  while (node->first_ending) {
    Ending *ending = node->first_ending;
    Record *last, *left = left_of(E, node, ending->records, &last);
    node->first_ending = ending->next;
    Place *place = left ? have_place(E, ending->tx, number) : NULL;
    if (left && buffered(E, node, ending->since) && !place->records) {
      place->records = left;
      place->last_record = last;
      E->tx[ending->tx].durable |= 1u << number;
    } else {
      free_records(E, left);
    }
    free_ending(E, ending);
  }
  node->last_ending = NULL;
  free(known);
  if (node->has_store) crash_store(E, number);
  known = places_of(E, number, &count);
  for (int64_t i = 0; i < count; i++) {
    Place *place = find_place(E, known[i], number);
    Transaction *T = record(E, known[i]);
    int kept = place->records || place->prepared;
    if (place->actor && !kept && T) {
      T->actors--;
      T->forgotten |= 1u << number;
    }
    if (!place->actor && kept && T) T->actors++;
    if (place->actor) kill_actor(E, place->actor);
    place->actor = NULL;
    place->open = NULL;
    place->flying = NULL;
    drop_place(E, known[i], number);
  }
  free(known);
  for (Row *row = node->first_row; row; row = row->next) { row->courier = NOBODY; row->behind = NULL; }
  Relay *relay = &node->relay;
  if (relay->actor) kill_actor(E, relay->actor);
  while (relay->held) {
    Held *next = relay->held->next;
    free_held(E, relay->held);
    relay->held = next;
  }
  *relay = (Relay){.listed = relay->listed, .room = relay->room};
  memset(node->breaker, 0, sizeof node->breaker);
  drop_waiting(E, number);
  while (node->first_stalled) {
    Work *work = node->first_stalled;
    node->first_stalled = work->next;
    end_work(E, work);
  }
  node->last_stalled = NULL;
  crash_disk(E, &node->disk);
  if (!node->has_store) return;
  pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
  pool->since = now;
  clear_station(&pool->waiting, now);
  clear_station(&pool->served, now);
  pool->epoch++;
  pool->head = pool->tail = NULL;
  pool->waiting_count = 0;
  pool->free = pool->workers;
}

/* Aim a crash at an effect of a transaction: before it, or right after it. */
EXPORT int engine_aim(Engine *E, int number, int which, int pattern, int64_t tx, int before, int occurrence) {
  Node *node = &E->node[number];
  if (node->aims == AIMS) return -1;
  node->aim[node->aims++] = (Aim){which, pattern, before, occurrence, tx};
  return 0;
}

EXPORT int engine_is_up(Engine *E, int number) { return E->node[number].up; }

/* Come back with what is on disk: recover every machine that has records. Daemons and the broker's connection are Python's next calls. */
EXPORT void engine_restart(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  int64_t count;
  if (node->up) return;
  node->up = 1;
  int64_t *known = places_of(E, number, &count);
  for (int64_t i = 0; i < count && !E->head.error; i++) {
    Place *place = find_place(E, known[i], number);
    if (!place || !(place->records || place->prepared)) continue;
    int32_t what[256];
    int records = 0;
    for (Record *one = place->records; one; one = one->next) {
      if (records == 255) { fail(E, 12); break; }
      what[records++] = one->what;
    }
    if (place->prepared && E->learned.template[place->prepared->template].type == PREPARE) what[records++] = E->learned.template[place->prepared->template].record;
    Transaction *T = record(E, known[i]);
    RunningMachine *actor = spawn(E, known[i], number);
    if (T) T->actors--; /* it was never taken off */
    int32_t transition = ASK(E, recover(number, records, what));
    if (transition < 0) { fail(E, 3); break; }
    actor->phase = BUSY;
    actor->turns = 0;
    actor->state = E->learned.transition[transition].state;
    actor->start = actor->pc = E->learned.transition[transition].start;
    actor->end = E->learned.transition[transition].end;
    go_on(E, actor);
    if (!node->up) break;
  }
  free(known);
  if (E->head.error || !node->up) return;
  for (int64_t tx = E->head.first_open; tx < E->head.asked; tx++) { /* no record, or no trace at all: aborted from now on */
    Transaction *T = &E->tx[tx];
    if (!(T->forgotten & 1u << number)) continue;
    T->forgotten &= ~(1u << number);
    int written = T->forced || T->lazy || T->first_effect == T->first_effect;
    int traceless = !(T->actors || T->messages || T->broker_messages || written);
    if (number == E->head.presumes || (traceless && !E->head.insists)) decided(E, T, 0, E->head.now);
  }
}
