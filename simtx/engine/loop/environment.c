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

/* Time, then key, as one number: a time is not negative, so that its bits are in the order of its value. Without branches, which nobody could foresee. */
static inline unsigned __int128 rank(const Entry *entry) {
  uint64_t time;
  memcpy(&time, &entry->time, sizeof time);
  return (unsigned __int128)time << 64 | entry->key;
}

static Entry pop(Engine *E) {
  Entry *heap = E->heap, first = heap[0], last = heap[--E->entries];
  int64_t at = 0, count = E->entries;
  unsigned __int128 mine = rank(&last);
  for (;;) {
    int64_t least = 4 * at + 1, end = least + 4 < count ? least + 4 : count;
    if (least >= count) break;
    unsigned __int128 lowest = rank(&heap[least]);
    for (int64_t other = least + 1; other < end; other++) {
      unsigned __int128 candidate = rank(&heap[other]);
      int lower = candidate < lowest;
      least = lower ? other : least;
      lowest = lower ? candidate : lowest;
    }
    if (lowest > mine) break;
    heap[at] = heap[least];
    at = least;
  }
  if (count) heap[at] = last;
  return first;
}

static void call_in(Engine *E, double delay, int kind, void *thing, int64_t number) {
  push(E, E->head.now + delay, NORMAL, kind, thing, number);
}
