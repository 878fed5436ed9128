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
  for (int i = 0; i < TIMERS; i++) E->learned.timer_event[i] = -1;
  E->row_room = 8;
  E->samples.due = INFINITY; /* until they begin */
  E->factor_piece = -1;
  E->writer = -1;
  E->parcel = slab(E, FEW * sizeof(Parcel *));
  E->buckets = FEW;
  E->seen_at = slab(E, BUCKETS * sizeof(Seen *));
  E->lane = slab(E, 1024 * sizeof(Lane *));
  E->escape = NULL; /* every call from Python sets it */
  return E;
}

static void free_pages(Engine *E) {
  for (int64_t i = 0; i < E->pages; i++) {
    free(E->page[i].amounts);
    free(E->page[i].keys);
  }
  E->pages = 0;
}

/* What each transaction has done and was to do, when nobody asks for it any more: before the columns are made, which is when a run takes most memory. */
EXPORT void engine_forget_effects(Engine *E) {
  free_pages(E);
  free(E->actions);
  free(E->undone);
  free(E->claims);
  E->actions = E->undone = NULL;
  E->claims = NULL;
}

EXPORT void engine_free(Engine *E) {
  free_pages(E);
  for (int i = 0; i < E->slab_count; i++) free(E->slabs[i]);
  void *all[] = {E->slabs, E->heap, E->counts, E->tx, E->actions, E->undone, E->claims, E->residuals, E->order, E->rows, E->link, E->key, E->page, E->demands, E->place, E->samples.row, E->vote, E->known};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free_learned(&E->learned);
  for (int i = 0; i < NODES; i++) free(E->node[i].relay.listed);
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

/* Fields of every record, in the order in which they were closed. */
EXPORT void engine_columns(Engine *E, int count, const int32_t *offset, const int32_t *size, void **target) {
  for (int64_t i = 0; i < E->head.ordered; i++) {
    const char *record = (const char *)&E->tx[E->order[i]];
    for (int j = 0; j < count; j++) {
      const char *field = record + offset[j];
      switch (size[j]) {
      case 1: ((char *)target[j])[i] = *field; break;
      case 4: memcpy((int32_t *)target[j] + i, field, 4); break;
      default: memcpy((int64_t *)target[j] + i, field, 8);
      }
    }
  }
}

EXPORT int engine_stream(Engine *E, int constant, double value) {
  if (E->streams == STREAMS) return -1;
  E->stream[E->streams] = (Stream){.constant = constant, .value = value};
  return E->streams++;
}

/* What C calls of NumPy's, and the generator that belongs to this engine. */
EXPORT void engine_generators(Engine *E, const Generators *generators) { E->generators = *generators; }
EXPORT int engine_generators_size(void) { return (int)sizeof(Generators); }

/* C makes the numbers of this stream itself. */
EXPORT void engine_draws(Engine *E, int stream, const Source *source) { E->stream[stream].source = *source; }
EXPORT int engine_source_size(void) { return (int)sizeof(Source); }

/* The numbers that C would make: to be compared with Python's before it does. */
EXPORT void engine_try_source(const Generators *generators, const Source *source, int64_t major, int64_t minor, int size, int blocks, double *target) {
  make_blocks(generators, source, major, minor, size, blocks, target);
}

/* This stream follows the common factor: of its own it draws from the stream `own`, of normals. */
EXPORT void engine_together(Engine *E, int stream, int own, double share, double rest, int cells, const double *quantile, const double *threshold, int exact,
                            double shared_flush, double within) {
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
  S->shared_flush = shared_flush;
  S->within = within;
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
  memset(node->chain, -1, sizeof node->chain);
}

EXPORT void engine_store(Engine *E, int number, int serializable, double lock_timeout, double retention, int workers, int limit, int at_commit, int works_inside) {
  Node *node = &E->node[number];
  node->has_store = 1;
  node->serializable = serializable;
  node->lock_timeout = lock_timeout;
  node->retention = node->rotate_at = retention;
  node->pool.workers = node->pool.free = workers;
  node->pool.limit = limit;
  node->at_commit = at_commit;
  node->works_inside = works_inside;
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

/* Another key of a store; it keeps its name and its weights where they are. */
static int make_key(Engine *E, int node, char *name, double first, int has_value, int weights, double *weight) {
  if (E->keys == E->key_room) {
    int room = E->key_room ? 2 * E->key_room : 256;
    RESERVE(E, E->key, E->key_room, room);
    E->key_room = room;
  }
  E->key[E->keys] = (Key){
    .name = name, .node = node, .value = first, .first = first, .replica = first, .has_value = (uint8_t)has_value, .weights = weights, .weight = weight};
  return E->keys++;
}

static char *kept_text(Engine *E, const char *text, size_t size) {
  char *kept = slab(E, size + 1);
  memcpy(kept, text, size);
  return kept;
}

/* What a key counts in each conserved quantity. */
static double *kept_weights(Engine *E, int weights, const double *weight) {
  size_t size = (size_t)weights * (size_t)E->head.quantities * sizeof(double);
  return size ? memcpy(slab(E, size), weight, size) : NULL;
}

EXPORT int engine_key(Engine *E, int node, const char *name, double first, int has_value, int weights, const double *weight) {
  GUARD(E, -1)
  return make_key(E, node, kept_text(E, name, strlen(name)), first, has_value, weights, kept_weights(E, weights, weight));
}

/* Many new keys of one node that are alike but for their names, which end with a null character each: the number of the first. */
EXPORT int engine_keys(Engine *E, int node, int count, const char *names, int64_t size, double first, int weights, const double *weight) {
  GUARD(E, -1)
  int start = E->keys;
  char *text = kept_text(E, names, (size_t)size);
  double *kept = kept_weights(E, weights, weight);
  for (int i = 0; i < count; i++) {
    make_key(E, node, text, first, 0, weights, kept);
    text += strlen(text) + 1;
  }
  return start;
}

/* Likewise, where the names are one text with a number in it. */
EXPORT int engine_numbered_keys(Engine *E, int node, int count, const char *before, const int64_t *numbers, const char *behind, double first, int weights, const double *weight) {
  GUARD(E, -1)
  enum { DIGITS = 20 };
  int start = E->keys;
  size_t front = strlen(before), back = strlen(behind), most = front + DIGITS + back + 1;
  char *text = slab(E, (size_t)count * most + 1);
  double *kept = kept_weights(E, weights, weight);
  for (int i = 0; i < count; i++) {
    char digits[DIGITS], *digit = digits + DIGITS;
    int64_t left = numbers[i];
    do *--digit = (char)('0' + left % 10);
    while (left /= 10);
    size_t length = (size_t)(digits + DIGITS - digit);
    make_key(E, node, text, first, 0, weights, kept);
    memcpy(text, before, front);
    memcpy(text + front, digit, length);
    memcpy(text + front + length, behind, back + 1);
    text += front + length + back + 1;
  }
  return start;
}

EXPORT int engine_key_count(Engine *E) { return E->keys; }
EXPORT const char *engine_key_name(Engine *E, int number) { return E->key[number].name; }

/* Of every key: its node, its first and its last value, what ought to have been added, and 1 if it has a value, plus 2 if anything is expected of it. */
EXPORT void engine_values(Engine *E, int32_t *node, double *first, double *value, double *expected, uint8_t *has) {
  for (int i = 0; i < E->keys; i++) {
    Key *key = &E->key[i];
    node[i] = key->node;
    first[i] = key->first;
    value[i] = key->value;
    expected[i] = key->expected;
    has[i] = (uint8_t)(key->has_value + 2 * key->has_expected);
  }
}

/* A key with what its name begins with behind the text that all of its store have in common. */
typedef struct { uint64_t begins; const Key *key; } Sorted;

static int by_name(const void *a, const void *b) {
  const Sorted *one = a, *other = b;
  if (one->begins != other->begins) return one->begins < other->begins ? -1 : 1;
  return strcmp(one->key->name, other->key->name);
}

static uint64_t begins(const char *text) {
  uint64_t word = 0;
  for (int i = 0; i < 8; i++) word = word << 8 | (unsigned char)(*text ? *text++ : 0);
  return word;
}

/* The values of a store as a digest takes them: name and value of each key that has one, in the order of their names. Gives the size; nothing is
 * written if there is no target. */
EXPORT int64_t engine_packed(Engine *E, int node, uint8_t *target) {
  GUARD(E, -1)
  int64_t size = 0, count = 0;
  size_t common = 0;
  const char *same = NULL;
  Sorted *sorted = target ? borrow(E, ((size_t)E->keys + 1) * sizeof(Sorted)) : NULL;
  for (int i = 0; i < E->keys; i++) {
    Key *key = &E->key[i];
    if (key->node != node || !key->has_value) continue;
    size += (int64_t)(strlen(key->name) + sizeof(double));
    if (!sorted) continue;
    if (!same) common = strlen(same = key->name);
    size_t at = 0;
    while (at < common && key->name[at] == same[at]) at++;
    common = at;
    sorted[count++].key = key;
  }
  if (!sorted) return size;
  for (int64_t i = 0; i < count; i++) sorted[i].begins = begins(sorted[i].key->name + common);
  qsort(sorted, (size_t)count, sizeof(Sorted), by_name);
  for (int64_t i = 0; i < count; i++) {
    size_t length = strlen(sorted[i].key->name);
    memcpy(target, sorted[i].key->name, length);
    memcpy(target + length, &sorted[i].key->value, sizeof(double));
    target += length + sizeof(double);
  }
  free(sorted);
  return size;
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
    int64_t room = (more_room(E, E->demand_room) + PAGE - 1) / PAGE * PAGE;
    RESERVE(E, E->demands, E->demand_room * E->head.steps, room * E->head.steps);
    E->demand_room = room;
  }
  page->shapes = slab(E, PAGE);
  memcpy(E->demands + (size_t)(E->pages - 1) * steps, demands, steps * sizeof(double));
  memcpy(page->shapes, shapes, PAGE);
  if (!E->head.shared_slots || E->pages == 1) {
    RESERVE(E, page->amounts, 0, slots);
    RESERVE(E, page->keys, 0, slots);
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
  if (H->closed_workload) call_in(E, draw(E, H->thinking, -1), ARRIVE, NULL, 0);
  else schedule(E);
}
