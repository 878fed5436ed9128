/* What is counted of every transaction, and when its record is closed: simtx.metrics.ledger. */

static inline Transaction *record(Engine *E, int64_t tx) { return tx >= 0 && !E->tx[tx].closed ? &E->tx[tx] : NULL; }

static void advance(Gauge *gauge, double now) {
  double span = now - gauge->last;
  if (span > 0) {
    gauge->last = now;
    double net = fabs(gauge->net);
    if (net > TOLERANCE) {
      gauge->net_integral += net * span;
      gauge->violated += span;
      if (net > gauge->peak) gauge->peak = net;
    }
    gauge->gross_integral += gauge->gross * span;
  }
}

static void weigh(Engine *E, Transaction *T) {
  int open = T->done != (T->decision == COMMITTED ? E->head.writing : 0);
  if (open != T->open) {
    T->open = (uint8_t)open;
    E->head.unsettled += open ? 1 : -1;
  }
}

static void decided(Engine *E, Transaction *T, int committed, double now) {
  if (T->decision == UNDECIDED) {
    E->head.undecided--;
    T->decision = committed ? COMMITTED : ABORTED;
    T->decided = now;
    weigh(E, T);
  } else if (committed != (T->decision == COMMITTED)) {
    T->watch |= SPLIT;
  }
}

static int settled(Engine *E, int64_t tx) {
  int steps = E->head.steps, wanted = E->tx[tx].decision == COMMITTED;
  for (int i = 0; i < steps; i++)
    if (E->actions[tx * steps + i] - E->undone[tx * steps + i] != wanted && E->head.writes[i]) return 0;
  return 1;
}

static inline int32_t key_of(Engine *E, int64_t tx, int slot) {
  if (E->head.shared_slots) return E->page[0].keys[slot];
  return E->page[tx / PAGE].keys[(tx % PAGE) * E->head.slots + slot];
}
static inline double amount_of(Engine *E, int64_t tx, int slot) {
  if (E->head.shared_slots) return E->page[0].amounts[slot];
  return E->page[tx / PAGE].amounts[(tx % PAGE) * E->head.slots + slot];
}

static void book(Engine *E, int64_t tx, int committed) {
  if (!committed) return;
  for (int i = 0; i < E->books; i++) {
    Key *key = &E->key[key_of(E, tx, E->book[i])];
    key->expected += amount_of(E, tx, E->book[i]);
    key->has_expected = 1;
  }
}

/* Whether the effects of a transaction whose outcome is known ought to be there in the end. */
static int intends_commit(Engine *E, int64_t tx) {
  Transaction *T = &E->tx[tx];
  if (T->outcome == OUT_LOST) return 0;
  if (T->decision != UNDECIDED || T->refused) return T->decision == COMMITTED;
  for (int i = 0; i < E->head.steps; i++)
    if (E->actions[tx * E->head.steps + i] > 0) return 1;
  return 0;
}

static void close_record(Engine *E, int64_t tx, int outcome, int resting) {
  Transaction *T = &E->tx[tx];
  T->resting = (uint8_t)(resting && outcome != OUT_STUCK && outcome != OUT_IN_FLIGHT);
  int steps = E->head.steps;
  int16_t *actions = E->actions + tx * steps, *undone = E->undone + tx * steps;
  if (!outcome) {
    outcome = T->decision == COMMITTED ? OUT_COMMITTED : OUT_ABORTED;
    if (T->decision != COMMITTED)
      for (int i = 0; i < steps; i++)
        if (undone[i]) outcome = OUT_COMPENSATED;
  }
  T->outcome = (uint8_t)outcome;
  int committed = intends_commit(E, tx);
  if (!T->light) book(E, tx, committed);
  for (int i = 0; i < steps; i++) {
    int net = actions[i] - undone[i];
    if (net != committed && E->head.writes[i]) {
      if (net > committed) T->duplicates += net - committed;
      else T->missing += committed - net;
    }
  }
  T->closed = 1;
  T->young = 0;
  E->order[E->head.ordered++] = tx;
}

static int is_through(Engine *E, int64_t tx, double limit) {
  Transaction *T = &E->tx[tx];
  return T->decision && !T->actors && T->last_activity < limit && settled(E, tx);
}

static void lighten(Engine *E, double now) {
  Head *H = &E->head;
  H->next_lighten = now + H->soon;
  double limit = now - H->soon;
  while (H->first_young < H->asked && !E->tx[H->first_young].young) H->first_young++;
  for (int64_t tx = H->first_young; tx < H->asked; tx++) {
    Transaction *T = &E->tx[tx];
    if (!T->young) continue;
    if (T->arrival >= limit) break;
    if (is_through(E, tx, limit)) {
      book(E, tx, T->decision == COMMITTED);
      T->light = 1;
      T->young = 0;
    }
  }
}

/* Whether a provider outside has not worked off all that it was asked for: what comes of it still counts. */
static int is_outside(Engine *E, int64_t tx) {
  for (int i = 0; i < E->head.nodes; i++) {
    Place *place = E->node[i].provider.exists ? find_place(E, tx, i) : NULL;
    if (place && place->asked) return 1;
  }
  return 0;
}

static void sweep(Engine *E, double now) {
  Head *H = &E->head;
  H->next_sweep = now + H->grace / 4;
  double limit = now - H->grace;
  while (H->first_open < H->asked && E->tx[H->first_open].closed) H->first_open++;
  for (int64_t tx = H->first_open; tx < H->asked; tx++) {
    if (E->tx[tx].closed) continue;
    if (E->tx[tx].arrival >= limit) break;
    if (is_through(E, tx, limit) && !is_outside(E, tx)) close_record(E, tx, 0, 1);
  }
}

static void shift(Engine *E, int64_t tx, const double *shifts, double now) {
  for (int i = 0; i < E->head.quantities; i++) {
    double change = shifts[i];
    if (change == 0.0) continue;
    Gauge *gauge = &E->gauge[i];
    if (E->head.measuring && now > gauge->last) advance(gauge, now);
    double was = E->residuals[tx * E->head.quantities + i], after = was + change;
    if (-TOLERANCE < after && after < TOLERANCE) after = 0.0;
    E->residuals[tx * E->head.quantities + i] = after;
    gauge->net += change;
    gauge->gross += fabs(after) - fabs(was);
  }
}

static void effect(Engine *E, int64_t tx, uint64_t steps, int compensation, const double *shifts, double now) {
  Transaction *T = &E->tx[tx];
  Head *H = &E->head;
  if (T->first_effect != T->first_effect) T->first_effect = now;
  T->last_effect = T->last_activity = now;
  int16_t *actions = E->actions + tx * H->steps, *undone = E->undone + tx * H->steps;
  int done = T->done, several = (steps & (steps - 1)) != 0;
  for (int i = 0; i < H->steps; i++) {
    if (!(steps >> i & 1) || (several && !H->writes[i])) continue;
    if (compensation) {
      undone[i]++;
      if (actions[i] == undone[i]) done--;
      else if (actions[i] < undone[i]) T->watch |= DOUBLED;
    } else {
      actions[i]++;
      if (actions[i] == undone[i] + 1) done++;
      else if (actions[i] > undone[i]) T->watch |= DOUBLED;
    }
  }
  T->done = done;
  if (compensation && done)
    for (int i = 0; i < H->steps; i++)
      for (int j = i + 1; steps >> i & 1 && j < H->steps; j++)
        if (H->behind[i] >> j & 1 && actions[j] > undone[j]) T->watch |= EARLY;
  if (T->decision) weigh(E, T);
  int partial = 0 < done && done < H->writing;
  if (partial != T->partial) {
    T->partial = (uint8_t)partial;
    int change = partial ? 1 : -1;
    if (H->partial == 0) H->partial_since = now;
    else if (H->partial + change == 0 && H->measuring) H->partial_time += now - H->partial_since;
    H->partial += change;
  }
  if (shifts) shift(E, tx, shifts, now);
}
