/* Locks on rows: simtx.simulator.row_locks. */

static void evaluate(Engine *E, Work *work);
static void granted(Engine *E, Work *work);
static void drop(Engine *E, Work *work, int status);
static void acquire(Engine *E, Work *work);
static void release(Engine *E, Work *work);
static int may_wait(Engine *E, Work *work);

static inline int is_branch(Engine *E, Work *work) { return E->learned.template[work->template].type != TRANSACT; }

static int make_key(Engine *E, int node, char *name, double first, int has_value, int weights, double *weight);

static char OUTBOX_LOCK[] = "~outbox"; /* behind most keys, so that it is taken last */

static int operation_key(Engine *E, Work *work, Operation *operation) { return key_of(E, work->tx, operation->key); }

/* Take a key among those that are to be locked, in the order of their names. */
static void list_key(Engine *E, Work *work, int key) {
  int at = work->keys++;
  while (at > 0 && strcmp(E->key[work->locked[at - 1]].name, E->key[key].name) > 0) {
    work->locked[at] = work->locked[at - 1];
    at--;
  }
  work->locked[at] = key;
}

static void lockable_rows(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  Work *branch = open_of(E, work->tx, work->node);
  work->keys = 0;
  int count = work->no_operations || work->refusing ? 0 : template->count;
  for (int i = 0; i < count; i++) {
    Operation *operation = &E->learned.operation[template->operations + i];
    if (!(operation->kind == ADD || operation->kind == SET || (operation->kind == READ && node->serializable))) continue;
    int key = operation_key(E, work, operation), known = 0;
    for (int j = 0; j < work->keys; j++) known |= work->locked[j] == key;
    if (branch)
      for (int j = 0; j < branch->keys; j++) known |= branch->locked[j] == key;
    if (!known) list_key(E, work, key);
  }
}

static int outbox_lock(Engine *E, int number) {
  Node *node = &E->node[number];
  if (!node->outbox_lock) node->outbox_lock = make_key(E, number, OUTBOX_LOCK, 0.0, 0, 0, NULL) + 1;
  return node->outbox_lock - 1;
}

static void lockable(Engine *E, Work *work) {
  lockable_rows(E, work);
  if (E->learned.template[work->template].serial == 2) list_key(E, work, outbox_lock(E, work->node));
}

/* The rows of a node that are locked, or waited for, in the order in which that began. */
static void link_row(Engine *E, int key, int chain) {
  Node *node = &E->node[E->key[key].node];
  int last = node->chain[chain].last;
  E->key[key].in[chain].before = last;
  E->key[key].in[chain].next = -1;
  if (last >= 0) E->key[last].in[chain].next = key;
  else node->chain[chain].first = key;
  node->chain[chain].last = key;
}
static void unlink_row(Engine *E, int key, int chain) {
  Node *node = &E->node[E->key[key].node];
  int before = E->key[key].in[chain].before, next = E->key[key].in[chain].next;
  if (before >= 0) E->key[before].in[chain].next = next;
  else node->chain[chain].first = next;
  if (next >= 0) E->key[next].in[chain].before = before;
  else node->chain[chain].last = before;
}

static void own(Engine *E, Work *work, int key) {
  Key *row = &E->key[key];
  if (row->owner != work) {
    if (!row->owner) {
      E->node[work->node].owners++;
      link_row(E, key, LOCKED);
    }
    row->owner = work;
    work->locked_from += E->head.now;
  }
}

static void hold(Engine *E, Work *work) {
  if (!work->keys) lockable(E, work);
  for (int i = 0; i < work->keys; i++) own(E, work, work->locked[i]);
}

static void end_wait(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  double seconds = E->head.now - work->wait_since;
  leave(&node->lock_waits, E->head.now, work->wait_since);
  work->wait_since = -1.0;
  if (T) T->lock_wait += seconds;
}

static void leave_queue(Engine *E, Work *work) {
  if (work->waits_for >= 0) {
    Key *row = &E->key[work->waits_for];
    Work **at = &row->head, *last = NULL;
    while (*at && *at != work) { last = *at; at = &(*at)->queued; }
    if (*at) {
      *at = work->queued;
      if (row->tail == work) row->tail = last;
      if (!row->head) unlink_row(E, work->waits_for, WAITED);
      E->node[work->node].lock_queue--;
    }
    work->waits_for = -1;
  }
  end_wait(E, work);
  release(E, work);
}

static void wait_for(Engine *E, Work *work, int key) {
  Node *node = &E->node[work->node];
  if (work->wait_since < 0) {
    work->wait_since = E->head.now;
    enter(&node->lock_waits, E->head.now);
    hold_work(work);
    call_in(E, node->lock_timeout, GIVE_UP, work, 0);
  }
  Key *row = &E->key[key];
  work->waits_for = key;
  work->queued = NULL;
  if (!row->tail) link_row(E, key, WAITED);
  ENQUEUE(row->head, row->tail, work, queued);
  node->lock_queue++;
  if (!may_wait(E, work)) {
    leave_queue(E, work);
    drop(E, work, FAILURE);
  }
}

static void acquire(Engine *E, Work *work) {
  for (int i = 0; i < work->keys; i++) {
    Work *owner = E->key[work->locked[i]].owner;
    if (owner && owner != work) {
      for (int j = 0; j < i; j++) own(E, work, work->locked[j]);
      wait_for(E, work, work->locked[i]);
      return;
    }
  }
  if (work->wait_since >= 0) end_wait(E, work);
  granted(E, work);
}

static void give_up(Engine *E, Work *work) {
  if (work->wait_since >= 0 && work->wait_since + E->node[work->node].lock_timeout <= E->head.now && !work->ended && work->actor->gen == work->gen) {
    leave_queue(E, work);
    E->head.timeouts++;
    drop(E, work, FAILURE);
  }
}

static void count_locks(Engine *E, Work *work, int freed) {
  if (!freed) return;
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  double seconds = E->head.now * freed - work->locked_from;
  work->locked_from = 0.0;
  node->locks_taken += freed;
  node->locks_held += seconds;
  if (T) T->lock_hold += seconds;
}

static void release(Engine *E, Work *work) {
  int freed = 0, mine[256], followers = 0, follower_key[256];
  Work *follower[256];
  for (int i = 0; i < work->keys; i++)
    if (E->key[work->locked[i]].owner == work) {
      if (freed == 256) { fail(E, 6); return; }
      mine[freed++] = work->locked[i];
    }
  if (!freed) return;
  count_locks(E, work, freed);
  for (int i = 0; i < freed; i++) {
    Key *row = &E->key[mine[i]];
    row->owner = NULL;
    E->node[work->node].owners--;
    unlink_row(E, mine[i], LOCKED);
    if (row->head) {
      Work *next = row->head;
      row->head = next->queued;
      if (!row->head) {
        row->tail = NULL;
        unlink_row(E, mine[i], WAITED);
      }
      E->node[work->node].lock_queue--;
      next->waits_for = -1;
      own(E, next, mine[i]);
      hold_work(next);
      follower_key[followers] = mine[i];
      follower[followers++] = next;
    }
  }
  for (int i = 0; i < followers; i++) {
    if (E->key[follower_key[i]].owner == follower[i]) acquire(E, follower[i]);
    let_work(E, follower[i]);
  }
}
