/* A new engine; the world as Python describes it before a run, and its results as Python reads them after it. */

EXPORT void engine_free(Engine *E);
EXPORT Engine *engine_new(const Calls *calls) {
  jmp_buf here;
  Engine *E = calloc(1, sizeof(Engine));
  if (!E) return NULL;
  E->calls = *calls;
  E->place_room = 1024;
  if (setjmp(here)) { engine_free(E); return NULL; }
  E->escape = &here;
  E->place = reserve(E, NULL, 0, (size_t)E->place_room * sizeof(Place));
  for (int64_t i = 0; i < E->place_room; i++) E->place[i].node = -1;
  for (int i = 0; i < NODES; i++)
    for (int j = 0; j <= NODES; j++) E->node[i].link[j] = -1;
  E->row_room = 8;
  E->factor_piece = -1;
  E->parcel = slab(E, BUCKETS * sizeof(Parcel *));
  E->seen_at = slab(E, BUCKETS * sizeof(Seen *));
  E->lane = slab(E, 1024 * sizeof(Lane *));
  E->escape = NULL; /* every call from Python sets it */
  return E;
}

EXPORT void engine_free(Engine *E) {
  for (int i = 0; i < E->slab_count; i++) free(E->slabs[i]);
  void *all[] = {E->slabs, E->heap, E->counts, E->tx, E->actions, E->undone, E->claims, E->residuals, E->order, E->rows, E->link, E->key, E->page, E->demands, E->place};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free_learned(&E->learned);
  free(E);
}

#ifndef SOURCE
#define SOURCE ""
#endif
EXPORT const char *engine_source(void) { return SOURCE; } /* which source this was compiled from */

EXPORT Head *engine_head(Engine *E) { return &E->head; }
EXPORT int engine_head_size(void) { return (int)sizeof(Head); }
EXPORT Gauge *engine_gauges(Engine *E) { return E->gauge; }
EXPORT Transaction *engine_transactions(Engine *E) { return E->tx; }
EXPORT int engine_transaction_size(void) { return (int)sizeof(Transaction); }
EXPORT int64_t *engine_order(Engine *E) { return E->order; }

EXPORT int engine_stream(Engine *E, int constant, double value) {
  if (E->streams == STREAMS) return -1;
  E->stream[E->streams] = (Stream){.constant = constant, .value = value};
  return E->streams++;
}

/* This stream follows the common factor: of its own it draws from the stream `own`, of normals. */
EXPORT void engine_together(Engine *E, int stream, int own, double share, double rest, int cells, const double *quantile, const double *threshold, int exact) {
  GUARD(E, )
  Stream *S = &E->stream[stream];
  S->quantile = slab(E, (size_t)cells * sizeof(double));
  S->threshold = slab(E, (size_t)cells * sizeof(double));
  memcpy(S->quantile, quantile, (size_t)cells * sizeof(double));
  memcpy(S->threshold, threshold, (size_t)(cells - 1) * sizeof(double));
  S->cells = cells;
  S->own = own;
  S->exact = exact;
  S->share = share;
  S->rest_share = rest;
}

EXPORT int engine_bounds(Engine *E, const double *bounds, int count) {
  GUARD(E, -1)
  E->bound = slab(E, (size_t)count * sizeof(double));
  memcpy(E->bound, bounds, (size_t)count * sizeof(double));
  return E->head.bounds = count;
}

EXPORT void engine_node(Engine *E, int number, int stream, int flush, int instant, int jitter, double lazy_flush) {
  Node *node = &E->node[number];
  node->disk.stream = stream;
  node->disk.flush = flush;
  node->disk.instant = instant;
  node->disk.durable_until = -1.0;
  node->jitter = jitter;
  node->timer_factor = 1.0;
  node->generation = 2;
  node->up = 1;
  node->lazy_flush = lazy_flush;
  node->own_first = node->own_last = node->wait_first = node->wait_last = -1;
}

EXPORT void engine_store(Engine *E, int number, int serializable, double lock_timeout, double retention, int workers, int limit, int at_commit) {
  Node *node = &E->node[number];
  node->has_store = 1;
  node->serializable = serializable;
  node->lock_timeout = lock_timeout;
  node->retention = node->rotate_at = retention;
  node->pool.workers = node->pool.free = workers;
  node->pool.limit = limit;
  node->at_commit = at_commit;
  node->pool.factor = 1.0;
}

/* The store has a read replica, whose delays come from this stream. */
EXPORT void engine_replica(Engine *E, int number, int stream) { E->node[number].lag = stream; }
EXPORT int64_t engine_replica_reads(Engine *E, int number, int stale) { return stale ? E->node[number].stale_reads : E->node[number].replica_reads; }

EXPORT int engine_link(Engine *E, const Link *link) {
  GUARD(E, -1)
  if (!E->link) E->link = memset(reserve(E, NULL, 0, (NODES + 1) * (NODES + 1) * sizeof(Link)), 0, (NODES + 1) * (NODES + 1) * sizeof(Link));
  if (E->links == (NODES + 1) * (NODES + 1)) return -1;
  E->link[E->links] = *link;
  return E->links++;
}

/* The number of a link, which is made if need be; and what faults have made of it. */
EXPORT int engine_link_number(Engine *E, int source, int destination) { GUARD(E, -1) return (int)(link_of(E, source, destination) - E->link); }
EXPORT void engine_set_link(Engine *E, int number, int blocked, int reorders, double reorder, int duplicates, double duplication, int loses, double loss) {
  Link *link = &E->link[number];
  link->blocked = blocked;
  link->reorders = reorders;
  link->reorder = reorder;
  link->duplicates = duplicates;
  link->duplication = duplication;
  link->loses = loses;
  link->loss = loss;
  link->plain = !(blocked || reorders || duplicates || loses);
}

/* How much slower a node's workers are, and by how much its clock is off. */
EXPORT void engine_factors(Engine *E, int number, double workers, double timers) {
  E->node[number].pool.factor = workers;
  E->node[number].timer_factor = timers;
}

static int make_key(Engine *E, int node, const char *name, double first, int has_value, int weights, const double *weight) {
  if (E->keys == E->key_room) {
    int room = E->key_room ? 2 * E->key_room : 256;
    RESERVE(E, E->key, E->key_room, room);
    E->key_room = room;
  }
  Key *key = &E->key[E->keys];
  memset(key, 0, sizeof *key);
  key->name = slab(E, strlen(name) + 1);
  strcpy(key->name, name);
  key->node = node;
  key->value = key->first = key->replica = first;
  key->has_value = (uint8_t)has_value;
  key->weights = weights;
  if (weights) {
    size_t size = (size_t)weights * (size_t)E->head.quantities * sizeof(double);
    key->weight = slab(E, size + 8);
    memcpy(key->weight, weight, size);
  }
  return E->keys++;
}

EXPORT int engine_key(Engine *E, int node, const char *name, double first, int has_value, int weights, const double *weight) {
  GUARD(E, -1)
  return make_key(E, node, name, first, has_value, weights, weight);
}

/* Many new keys of one node that are alike but for their names, which end with a null character each: the number of the first. */
EXPORT int engine_keys(Engine *E, int node, int count, const char *names, int64_t size, double first, int weights, const double *weight) {
  GUARD(E, -1)
  int start = E->keys;
  char *text = slab(E, (size_t)size + 1);
  memcpy(text, names, (size_t)size);
  for (int i = 0; i < count; i++) {
    int number = make_key(E, node, "", first, 0, weights, weight);
    E->key[number].name = text;
    text += strlen(text) + 1;
  }
  return start;
}

/* Of every key: its value, what it ought to be, and 1 if it has a value, plus 2 if anything is expected of it. */
EXPORT void engine_values(Engine *E, double *value, double *expected, uint8_t *has) {
  for (int i = 0; i < E->keys; i++) {
    value[i] = E->key[i].value;
    expected[i] = E->key[i].expected;
    has[i] = (uint8_t)(E->key[i].has_value + 2 * E->key[i].has_expected);
  }
}

/* What the steps in force have added to each key, and by how much its value is off that. */
EXPORT void engine_force(Engine *E, const int32_t *step, double *force, double *off) {
  for (int i = 0; i < E->keys; i++) force[i] = E->key[i].late;
  for (int64_t tx = 0; tx < E->head.asked; tx++)
    for (int i = 0; i < E->books; i++) {
      int64_t place = tx * E->head.steps + step[i];
      int net = E->actions[place] - E->undone[place];
      if (net) force[key_of(E, tx, E->book[i])] += net * amount_of(E, tx, E->book[i]);
    }
  for (int i = 0; i < E->keys; i++) off[i] = E->key[i].value - E->key[i].first - force[i];
}

EXPORT int16_t *engine_actions(Engine *E) { return E->actions; }
EXPORT int16_t *engine_undone(Engine *E) { return E->undone; }
EXPORT void *engine_claims(Engine *E) { return E->claims; }

EXPORT int engine_page(Engine *E, const double *demands, const double *amounts, const int32_t *keys, const uint8_t *shapes) {
  GUARD(E, -1)
  GROW(E->page, E->pages, E->page_room, 1)
  Page *page = &E->page[E->pages++];
  size_t steps = (size_t)E->head.steps * PAGE, slots = (size_t)E->head.slots * (E->head.shared_slots ? 1 : PAGE);
  if (E->pages * PAGE > E->demand_room) {
    int64_t room = E->demand_room ? 2 * E->demand_room : PAGE;
    RESERVE(E, E->demands, E->demand_room * E->head.steps, room * E->head.steps);
    E->demand_room = room;
  }
  page->shapes = slab(E, PAGE);
  memcpy(E->demands + (size_t)(E->pages - 1) * steps, demands, steps * sizeof(double));
  memcpy(page->shapes, shapes, PAGE);
  if (!E->head.shared_slots || E->pages == 1) {
    page->amounts = slab(E, (slots + 1) * sizeof(double));
    page->keys = slab(E, (slots + 1) * sizeof(int32_t));
    memcpy(page->amounts, amounts, slots * sizeof(double));
    memcpy(page->keys, keys, slots * sizeof(int32_t));
  }
  return 0;
}

EXPORT int engine_book(Engine *E, int slot) {
  if (E->books == (int)(sizeof E->book / sizeof *E->book)) return -1;
  E->book[E->books++] = slot;
  return 0;
}

EXPORT void engine_push(Engine *E, double time, int priority, int kind) { GUARD(E, ) push(E, time, priority, kind, NULL, 0); }
EXPORT void engine_arrivals(Engine *E) {
  GUARD(E, )
  Head *H = &E->head;
  E->nobody.base = 0;
  E->nobody.tx = -1;
  if (H->closed_workload) call_in(E, draw(E, H->thinking, -1), ARRIVE, NULL, 0);
  else schedule(E);
}
