/* The end of a run: whether anything is left to do, and how every record is closed. */

/* Whether nothing is left to do but what waits for an operator. */
EXPORT int engine_quiet(Engine *E) {
  if (E->head.asking) return 0;
  for (int i = 0; i < E->head.nodes; i++)
    if (!E->node[i].up || E->node[i].paused || E->node[i].outage) return 0;
  if (E->places)
    for (int64_t i = 0; i < E->place_room; i++) {
      Place *place = &E->place[i];
      if (place->node < 0 || !(place->actor || place->prepared || place->asked)) continue;
      if (place->tx < 0 || E->tx[place->tx].closed || !E->tx[place->tx].stuck) return 0;
    }
  for (int i = 0; i < E->head.nodes; i++)
    for (Row *row = E->node[i].first_row; row; row = row->next)
      if (E->tx[row->tx].closed || !E->tx[row->tx].stuck) return 0;
  if (E->head.parcels)
    for (int64_t i = 0; i < E->buckets; i++)
      for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next)
        if (E->tx[parcel->tx].closed || !E->tx[parcel->tx].stuck) return 0;
  for (int64_t tx = E->head.first_open; tx < E->head.asked; tx++)
    if (E->tx[tx].durable && (E->tx[tx].closed || !E->tx[tx].stuck)) return 0;
  return 1;
}

/* What is in doubt, locked or waiting counts up to now; then every record is closed. */
EXPORT void engine_finish(Engine *E) {
  GUARD(E, )
  Head *H = &E->head;
  double now = H->now;
  uint8_t *working = memset(borrow(E, (size_t)H->asked + 1), 0, (size_t)H->asked + 1);
  for (int64_t i = 0; i < E->place_room; i++) {
    Place *place = &E->place[i];
    if (place->node >= 0 && place->tx >= 0 && (place->actor || place->prepared || place->asked)) working[place->tx] = 1;
  }
  for (int64_t tx = 0; tx < H->asked; tx++) working[tx] |= E->tx[tx].durable != 0;
  for (int i = 0; i < H->nodes; i++)
    for (Row *row = E->node[i].first_row; row; row = row->next) { working[row->tx] = 1; H->unpublished++; }
  if (H->parcels)
    for (int64_t i = 0; i < E->buckets; i++)
      for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next) working[parcel->tx] = 1;
  for (int node = 0; node < H->nodes; node++) { /* store by store: a transaction's sums are in this order */
    for (int64_t i = 0; i < E->place_room; i++) {
      Place *place = &E->place[i];
      if (place->node != node || !place->prepared) continue;
      H->in_doubt_open++;
      Transaction *T = record(E, place->tx);
      if (T) T->in_doubt += now - place->prepared->prepared_since;
    }
    for (int i = 0; i < E->keys; i++) {
      Work *work = E->key[i].owner;
      if (!work || E->key[i].node != node) continue;
      int count = 0;
      for (int j = i; j < E->keys; j++)
        if (E->key[j].owner == work) { count++; E->key[j].owner = NULL; }
      H->locks_open += count;
      Transaction *T = record(E, work->tx);
      if (T) T->lock_hold += now * count - work->locked_from;
    }
    for (int i = 0; i < E->keys; i++)
      if (E->key[i].node == node)
        for (Work *work = E->key[i].head; work; work = work->queued) end_wait(E, work);
  }
  for (int64_t tx = 0; tx < H->asked; tx++) {
    Transaction *T = &E->tx[tx];
    if (T->closed) continue;
    if (!T->decision && !working[tx] && 0 < T->done && T->done == H->writing) decided(E, T, 1, T->last_effect);
    int outcome = OUT_LOST;
    if (T->stuck) outcome = OUT_STUCK;
    else if (T->decision && !T->actors) outcome = OUT_OPEN;
    else if (working[tx] || T->actors) outcome = OUT_IN_FLIGHT;
    else
      for (int i = 0; i < H->steps; i++)
        if (E->actions[tx * H->steps + i] > E->undone[tx * H->steps + i]) outcome = OUT_INCOMPLETE;
    close_record(E, tx, outcome, !working[tx] && !T->actors);
  }
  free(working);
  free(E->rows); /* these are a third of all, and nobody asks for them any more */
  free(E->demands);
  free(E->residuals);
  E->rows = NULL;
  E->demands = E->residuals = NULL;
}

/* Whether an event has said what is not so. */
static int is_untrue(Engine *E, int64_t tx, uint64_t writing) {
  if (!E->claims) return 0;
  uint64_t did = 0, undid = 0, *said = E->claims[tx].step;
  for (int i = 0; i < E->head.steps; i++) {
    did |= (uint64_t)(E->actions[tx * E->head.steps + i] > 0) << i;
    undid |= (uint64_t)(E->undone[tx * E->head.steps + i] > 0) << i;
  }
  uint64_t completed = said[SAYS_COMPLETED] & writing;
  uint64_t wrong = ((said[SAYS_DONE] | completed) & ~did) | (said[SAYS_REFUSED] & did) | (said[SAYS_UNDONE] & did & ~undid);
  return (wrong & writing) != 0 || (completed && (did & writing) != writing);
}

/* The transactions that need a look at what their strategy guarantees, in the order in which they were closed, and which of them are in force. Gives their number. */
EXPORT int64_t engine_odd(Engine *E, int64_t *odd, uint8_t *forced, int64_t *unfinished) {
  uint64_t writing = 0;
  int64_t count = 0;
  for (int i = 0; i < E->head.steps; i++) writing |= (uint64_t)(E->head.writes[i] != 0) << i;
  *unfinished = 0;
  for (int64_t i = 0; i < E->head.ordered; i++) {
    int64_t tx = E->order[i];
    Transaction *T = &E->tx[tx];
    int force = intends_commit(E, tx);
    *unfinished += !T->resting;
    int amiss = T->duplicates > 0 || T->missing > 0 || T->watch || T->outcome == OUT_LOST || T->outcome == OUT_INCOMPLETE || (force && T->shape);
    if (!amiss && !(T->answer == COMMITTED && !force) && !(T->answer == ABORTED && force) && !is_untrue(E, tx, writing)) continue;
    odd[count] = tx;
    forced[count++] = (uint8_t)force;
  }
  return count;
}
