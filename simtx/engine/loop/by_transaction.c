/* Random numbers by transaction: simtx.workload.by_transaction. They are NumPy's, whose functions C calls, or Python where there is none for a distribution. */

static double draw_together(Engine *E, int stream, int64_t tx);

/* The state of NumPy's generator with a counter: its numpy/random/src/philox/philox.h. */
typedef struct { uint64_t *counter, *key; int taken; uint64_t numbers[4]; int has_half; uint32_t half; } Philox;

/* Write so many blocks, one behind the other, from a place of the generator's counter on, as `Recipe` says. */
static void make_blocks(const Generators *G, const Source *source, int64_t major, int64_t minor, int size, int blocks, double *target) {
  Philox *at = *(Philox **)G->bits; /* a generator's first field is its state */
  int each = size / blocks;
  for (int block = 0; block < blocks; block++) {
    at->key[0] = source->key[0];
    at->key[1] = source->key[1];
    at->counter[0] = at->counter[1] = 0;
    at->counter[2] = (uint64_t)major + (uint64_t)block;
    at->counter[3] = (uint64_t)minor;
    at->taken = 4; /* nothing is left over from another place */
    at->has_half = 0;
    G->write[source->raw](G->bits, each, target + (size_t)block * (size_t)each);
  }
  if (source->raw == UNIFORM) return;
  for (int i = 0; i < size; i++) target[i] *= source->factor;
  if (source->raw == EXPONENTIAL) return;
  char *arrays[2] = {(char *)target, (char *)target};
  intptr_t count = size, steps[2] = {sizeof *target, sizeof *target};
  G->exponential(arrays, &count, steps, G->data);
  for (int i = 0; i < size; i++) target[i] *= source->median;
  if (source->shifted)
    for (int i = 0; i < size; i++) target[i] += source->shift;
}

/* The same, of a stream of an engine. */
static void write_blocks(Engine *E, int stream, int64_t major, int64_t minor, int size, int blocks, double *target) {
  const Source *source = &E->stream[stream].source;
  if (source->raw) make_blocks(&E->generators, source, major, minor, size, blocks, target);
  else if (ASK(E, fill(stream, major, minor, size, blocks, target))) fail(E, 3);
}

enum { SPARE_STREAMS = 16 };

/* Room for a few streams more than there are: most of them are known after the first transactions, and whatever many transactions have is to be small. */
static void make_room(Engine *E, Counts *counts) {
  int32_t room = E->streams + SPARE_STREAMS < STREAMS ? E->streams + SPARE_STREAMS : STREAMS;
  uint16_t *taken = slab(E, (size_t)room * sizeof *taken);
  if (counts->room) memcpy(taken, counts->taken, (size_t)counts->room * sizeof *taken);
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
  memset(counts->taken, 0, (size_t)counts->room * sizeof *counts->taken);
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
  if (tx < 0) return E->nobodys[stream]++;
  Counts *counts = E->tx[tx].counts;
  if (!counts) counts = begin_counts(E, tx);
  if (stream >= counts->room) make_room(E, counts);
  if (counts->taken[stream] == UINT16_MAX) fail(E, 16);
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
  write_blocks(E, stream, window, k, count << NEIGHBOURS, count, target);
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
    write_blocks(E, stream, tx, (1 << FRONT) + place, 1 << SUCCESSIVE, 1, rest->numbers);
  }
  return rest->numbers[k & ((1 << SUCCESSIVE) - 1)];
}

static double draw(Engine *E, int stream, int64_t tx) {
  Stream *S = &E->stream[stream];
  if (S->constant) return S->value;
  if (S->cells) return draw_together(E, stream, tx);
  return number(E, stream, tx, take(E, stream, tx));
}
