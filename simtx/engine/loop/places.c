/* Places: what a node has of a transaction, in one hash table; `Node.actors`, `Store.prepared` and the like in Python. */

static inline uint64_t mix(int64_t tx, int node) {
  uint64_t x = ((uint64_t)tx * NODES + (uint64_t)node) * 0x9E3779B97F4A7C15ull;
  return x ^ x >> 29;
}

static Place *find_place(Engine *E, int64_t tx, int node) {
  uint64_t mask = (uint64_t)E->place_room - 1;
  for (uint64_t at = mix(tx, node) & mask;; at = (at + 1) & mask) {
    Place *place = &E->place[at];
    if (place->node < 0) return NULL;
    if (place->tx == tx && place->node == node) return place;
  }
}

static Place *put_place(Engine *E, int64_t tx, int node) {
  uint64_t mask = (uint64_t)E->place_room - 1;
  uint64_t at = mix(tx, node) & mask;
  while (E->place[at].node >= 0) at = (at + 1) & mask;
  E->place[at] = (Place){.tx = tx, .node = node};
  E->places++;
  return &E->place[at];
}

static Place *have_place(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  if (place) return place;
  if (2 * E->places >= E->place_room) {
    Place *old = E->place;
    int64_t room = E->place_room;
    E->place = reserve(E, NULL, (size_t)room * sizeof(Place), 2 * (size_t)room * sizeof(Place)); /* the old ones are freed below */
    E->place_room *= 2;
    E->places = 0;
    for (int64_t i = 0; i < E->place_room; i++) E->place[i].node = -1;
    for (int64_t i = 0; i < room; i++)
      if (old[i].node >= 0) *put_place(E, old[i].tx, old[i].node) = old[i];
    free(old);
  }
  return put_place(E, tx, node);
}

static void drop_place(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  if (!place || place->actor || place->prepared || place->open || place->records || place->flying || place->head || place->line || place->asked) return;
  uint64_t mask = (uint64_t)E->place_room - 1, hole = (uint64_t)(place - E->place), at = hole;
  for (;;) { /* move back what would not be found behind the hole */
    at = (at + 1) & mask;
    if (E->place[at].node < 0) break;
    uint64_t home = mix(E->place[at].tx, E->place[at].node) & mask;
    if (((at - home) & mask) >= ((at - hole) & mask)) {
      E->place[hole] = E->place[at];
      hole = at;
    }
  }
  E->place[hole].node = -1;
  E->places--;
}

static inline RunningMachine *actor_of(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  return place ? place->actor : NULL;
}
static inline Work *open_of(Engine *E, int64_t tx, int node) {
  if (!E->node[node].open) return NULL;
  Place *place = find_place(E, tx, node);
  return place ? place->open : NULL;
}

static int by_number(const void *a, const void *b) {
  int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
  return (one > other) - (one < other);
}

/* Numbers of the transactions of which a node has anything, ascending. */
static int64_t *places_of(Engine *E, int number, int64_t *count) {
  int64_t *found = borrow(E, ((size_t)E->places + 1) * sizeof(int64_t));
  *count = 0;
  for (int64_t i = 0; i < E->place_room; i++)
    if (E->place[i].node == number) found[(*count)++] = E->place[i].tx;
  qsort(found, (size_t)*count, sizeof(int64_t), by_number);
  return found;
}
