/* The clock: simtx.simulator.environment. A heap of what happens when; four children to a node. */

static inline int before(double time, uint64_t key, const Entry *other) {
  return time < other->time || (time == other->time && key < other->key);
}

static void push(Engine *E, double time, int priority, int kind, void *thing, int64_t number) {
  if (!(time < INFINITY)) { fail(E, 8); return; }
  GROW(E->heap, E->entries, E->heap_room, 1)
  uint64_t key = (uint64_t)priority << 62 | E->head.seq++ << 6 | (uint64_t)kind;
  int64_t at = E->entries++;
  while (at > 0) {
    int64_t parent = (at - 1) / 4;
    if (!before(time, key, &E->heap[parent])) break;
    E->heap[at] = E->heap[parent];
    at = parent;
  }
  E->heap[at] = (Entry){time, key, thing, number};
}

static Entry pop(Engine *E) {
  Entry first = E->heap[0], last = E->heap[--E->entries];
  int64_t at = 0, count = E->entries;
  for (;;) {
    int64_t child = 4 * at + 1, least = child;
    if (child >= count) break;
    int64_t end = child + 4 < count ? child + 4 : count;
    for (int64_t other = child + 1; other < end; other++)
      if (before(E->heap[other].time, E->heap[other].key, &E->heap[least])) least = other;
    if (!before(E->heap[least].time, E->heap[least].key, &last)) break;
    E->heap[at] = E->heap[least];
    at = least;
  }
  if (count) E->heap[at] = last;
  return first;
}

static void call_in(Engine *E, double delay, int kind, void *thing, int64_t number) {
  push(E, E->head.now + delay, NORMAL, kind, thing, number);
}
