/* Who may wait for whom: simtx.simulator.deadlocks. */

static int same(Engine *E, Work *a, Work *b) { return a == b || (a->tx == b->tx && is_branch(E, a) && is_branch(E, b)); }

/* Whether somebody for whom this one waits waits for it in turn: simtx.simulator.deadlocks. */
static int reaches(Engine *E, Work *from, Work *work) {
  for (int number = 0; number < E->head.nodes; number++) {
    Work *waiting = NULL;
    if (number == from->node && from->wait_since >= 0) {
      waiting = from;
    } else if (is_branch(E, from)) {
      RunningMachine *actor = actor_of(E, from->tx, number);
      waiting = actor ? actor->work : NULL;
      if (waiting && (waiting->wait_since < 0 || waiting->waits_for < 0 || !same(E, waiting, from))) waiting = NULL;
    }
    if (!waiting || waiting->waits_for < 0 || waiting->scanned == E->seen) continue; /* else those before it are known already */
    Key *row = &E->key[waiting->waits_for];
    Work *blocker = row->owner, *next = row->head;
    while (blocker && blocker != waiting) {
      if (same(E, blocker, work)) return 1;
      if (blocker->waits_for == waiting->waits_for) blocker->scanned = E->seen;
      if (blocker->seen != E->seen) {
        blocker->seen = E->seen;
        if (reaches(E, blocker, work)) return 1;
      }
      blocker = next;
      next = next ? next->queued : NULL;
    }
  }
  return 0;
}

static int may_wait(Engine *E, Work *work) {
  int refused = 0;
  if (E->head.deadlocks == BY_TIMEOUT) return 1;
  if (E->head.deadlocks == BY_AGE) {
    Key *row = &E->key[work->waits_for];
    if (is_branch(E, work)) {
      refused = work->tx > row->owner->tx;
      for (Work *other = row->head; other != work; other = other->queued) refused |= work->tx > other->tx;
    }
  } else {
    E->seen++;
    refused = reaches(E, work, work);
  }
  if (refused) E->head.victims++;
  return !refused;
}
