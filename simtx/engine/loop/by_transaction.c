/* Random numbers by transaction: simtx.workload.by_transaction. They are NumPy's; C asks for them in blocks. */

static double draw_together(Engine *E, int stream, int64_t tx);

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
  memset(counts->taken, 0, (size_t)E->streams * sizeof(int32_t));
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
      memset(E->scratch.taken, 0, sizeof E->scratch.taken);
      E->scratch.base = LATE;
      return &E->scratch;
    }
  }
  return counts;
}

/* Which number of a stream is the transaction's next one. */
static int64_t take(Engine *E, int stream, int64_t tx) {
  Counts *counts = tx < 0 ? &E->nobody : E->tx[tx].counts;
  if (!counts) counts = begin_counts(E, tx);
  return counts->base + counts->taken[stream]++;
}

/* The k-th number of a transaction. */
static double number(Engine *E, int stream, int64_t tx, int64_t k) {
  Stream *S = &E->stream[stream];
  if (k < 1 << FRONT) {
    int64_t window = tx >> NEIGHBOURS;
    if (!S->front) S->front = slab(E, (WINDOWS << FRONT) * sizeof(Front));
    Front *front = &S->front[(window & (WINDOWS - 1)) << FRONT | k];
    if (!front->numbers || front->tag != window) {
      if (!front->numbers) front->numbers = slab(E, (1 << NEIGHBOURS) * sizeof(double));
      front->tag = window;
      if (ASK(E, fill(stream, window, k, 1 << NEIGHBOURS, front->numbers))) fail(E, 3);
    }
    return front->numbers[tx & ((1 << NEIGHBOURS) - 1)];
  }
  int64_t place = k >> SUCCESSIVE;
  if (!S->rest) S->rest = slab(E, RESTS * sizeof(Rest));
  Rest *rest = &S->rest[(uint64_t)(tx * 31 + place) % RESTS];
  if (!rest->numbers || rest->tx != tx || rest->place != place) {
    if (!rest->numbers) rest->numbers = slab(E, (1 << SUCCESSIVE) * sizeof(double));
    rest->tx = tx;
    rest->place = place;
    if (ASK(E, fill(stream, tx, (1 << FRONT) + place, 1 << SUCCESSIVE, rest->numbers))) fail(E, 3);
  }
  return rest->numbers[k & ((1 << SUCCESSIVE) - 1)];
}

static double draw(Engine *E, int stream, int64_t tx) {
  Stream *S = &E->stream[stream];
  if (S->constant) return S->value;
  if (S->cells) return draw_together(E, stream, tx);
  return number(E, stream, tx, take(E, stream, tx));
}
