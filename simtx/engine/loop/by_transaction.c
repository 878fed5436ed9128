/* Random numbers by transaction: simtx.workload.by_transaction. They are NumPy's; C asks for them in blocks. */

static double draw_together(Engine *E, int stream, int64_t tx);

enum { SPARE_STREAMS = 16 };

/* Room for a few streams more than there are: most of them are known after the first transactions, and whatever many transactions have is to be small. */
static void make_room(Engine *E, Counts *counts) {
  int32_t room = E->streams + SPARE_STREAMS < STREAMS ? E->streams + SPARE_STREAMS : STREAMS;
  int32_t *taken = slab(E, (size_t)room * sizeof(int32_t));
  if (counts->room) memcpy(taken, counts->taken, (size_t)counts->room * sizeof(int32_t));
  counts->taken = taken;
  counts->room = room;
}

static Counts *begin_counts(Engine *E, int64_t tx) {
  Transaction *T = &E->tx[tx];
  Counts *counts = E->free_counts;
  int late = !T->young;
  if (counts) {
    E->free_counts = counts->next;
  } else {
    counts = slab(E, sizeof(Counts));
    GROW(E->counts, E->counts_used, E->counts_room, 1)
    counts->at = E->counts_used;
    E->counts[E->counts_used++] = counts;
  }
  if (counts->room < E->streams) make_room(E, counts);
  memset(counts->taken, 0, (size_t)counts->room * sizeof(int32_t));
  counts->tx = tx;
  counts->base = late ? LATE : 0;
  T->counts = counts;
  if (tx % 1024 == 0) {
    for (int i = 0; i < E->counts_used; i++) {
      Counts *other = E->counts[i];
      if (other->tx < 0 || E->tx[other->tx].young) continue;
      E->tx[other->tx].counts = NULL;
      other->tx = -1;
      other->next = E->free_counts;
      E->free_counts = other;
    }
    if (late) { /* its own are gone with them: this one draw counts */
      E->scratch = (Counts){.base = LATE, .room = STREAMS, .taken = E->scratched};
      memset(E->scratched, 0, sizeof E->scratched);
      return &E->scratch;
    }
  }
  return counts;
}

/* Which number of a stream is the transaction's next one. */
static int64_t take(Engine *E, int stream, int64_t tx) {
  Counts *counts = tx < 0 ? &E->nobody : E->tx[tx].counts;
  if (!counts) counts = begin_counts(E, tx);
  if (stream >= counts->room) make_room(E, counts);
  return counts->base + counts->taken[stream]++;
}

/* The numbers of a window that are not there yet. Where those of the window before are, the next ones will be wanted, too: they are asked for together. */
static double *begin_window(Engine *E, int stream, int64_t window, int64_t k) {
  Stream *S = &E->stream[stream];
  if (!S->front) {
    S->front = slab(E, ((size_t)1 << FRONT) * sizeof(Front));
    for (int i = 0; i < 1 << FRONT; i++)
      for (int j = 0; j < WINDOWS; j++) S->front[i].tag[j] = INT64_MIN;
  }
  Front *front = &S->front[k];
  int place = (int)(window & (WINDOWS - 1)), count = 1;
  double **numbers = &front->numbers[place / TOGETHER];
  if (!*numbers) *numbers = slab(E, (TOGETHER << NEIGHBOURS) * sizeof(double));
  if (window > 0 && front->tag[(window - 1) & (WINDOWS - 1)] == window - 1)
    while ((place + count) % TOGETHER && (E->head.transactions < 0 || (window + count) << NEIGHBOURS < E->head.transactions)) count++;
  double *target = *numbers + ((size_t)(place % TOGETHER) << NEIGHBOURS);
  if (ASK(E, fill(stream, window, k, count << NEIGHBOURS, count, target))) fail(E, 3);
  for (int i = 0; i < count; i++) front->tag[place + i] = window + i;
  return target;
}

/* The k-th number of a transaction. */
static double number(Engine *E, int stream, int64_t tx, int64_t k) {
  Stream *S = &E->stream[stream];
  if (k < 1 << FRONT) {
    int64_t window = tx >> NEIGHBOURS, neighbour = tx & ((1 << NEIGHBOURS) - 1);
    int place = (int)(window & (WINDOWS - 1));
    if (!S->front || S->front[k].tag[place] != window) return begin_window(E, stream, window, k)[neighbour];
    return S->front[k].numbers[place / TOGETHER][(size_t)(place % TOGETHER) << NEIGHBOURS | (size_t)neighbour];
  }
  int64_t place = k >> SUCCESSIVE;
  if (!S->rest) S->rest = slab(E, RESTS * sizeof(Rest));
  Rest *rest = &S->rest[(uint64_t)(tx * 31 + place) % RESTS];
  if (!rest->numbers || rest->tx != tx || rest->place != place) {
    if (!rest->numbers) rest->numbers = slab(E, (1 << SUCCESSIVE) * sizeof(double));
    rest->tx = tx;
    rest->place = place;
    if (ASK(E, fill(stream, tx, (1 << FRONT) + place, 1 << SUCCESSIVE, 1, rest->numbers))) fail(E, 3);
  }
  return rest->numbers[k & ((1 << SUCCESSIVE) - 1)];
}

static double draw(Engine *E, int stream, int64_t tx) {
  Stream *S = &E->stream[stream];
  if (S->constant) return S->value;
  if (S->cells) return draw_together(E, stream, tx);
  return number(E, stream, tx, take(E, stream, tx));
}
