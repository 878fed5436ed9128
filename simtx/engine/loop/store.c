/* A store: idempotency rows, operations, and local transactions from the worker to the disk: simtx.simulator.store. */

static void finish(Engine *E, Work *work, int status, int value);
static void end_work(Engine *E, Work *work);
static void merge(Engine *E, Work *branch, Work *work);
static void prepared(Engine *E, Work *work);
static void durable(Engine *E, Work *work);
static void harden(Engine *E, Work *work);

static inline uint32_t *row_at(Engine *E, int64_t tx, int key) { return &E->rows[tx * E->row_room + key]; }

static int row_of(Engine *E, Node *node, int64_t tx, int key) { /* 0: there is none */
  uint32_t row = *row_at(E, tx, key);
  return row && (row >> 6) + 1 >= node->generation ? (int)(row & 63) : 0;
}

static void write_row(Engine *E, Node *node, int64_t tx, int key, int value) {
  *row_at(E, tx, key) = node->generation << 6 | (uint32_t)value;
}

static void rotate(Engine *E, Node *node) {
  double now = E->head.now;
  if (now < node->rotate_at) return;
  node->generation += now < node->rotate_at + node->retention ? 1 : 2;
  node->rotate_at = now + node->retention;
}

static int changed_at(Work *work, int key) {
  for (int i = 0; i < work->changes; i++)
    if (work->changed[i] == key) return i;
  return -1;
}

static int play_operations(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int count = work->no_operations ? 0 : template->count;
  if (work->refusing && !work->no_operations) return 0;
  for (int i = 0; i < count; i++) {
    Operation *operation = &E->learned.operation[template->operations + i];
    if (operation->kind == REFUSE) return 0;
    int key = operation_key(E, work, operation), at = changed_at(work, key);
    Key *row = &E->key[key];
    double value;
    if (operation->kind == READ) {
      value = at >= 0 ? work->values[at] : node->lag ? read_replica(E, node, row) : row->value;
    } else {
      double amount = amount_of(E, work->tx, operation->amount);
      value = operation->kind == ADD ? (at >= 0 ? work->values[at] : row->value) + amount : amount;
    }
    if ((operation->has_low && value < operation->low) || (operation->has_high && value > operation->high)) return 0;
    if (operation->kind == READ) continue;
    if (at < 0) {
      at = work->changes++;
      work->changed[at] = key;
    }
    work->values[at] = value;
  }
  return 1;
}

static void apply(Engine *E, Work *work, uint64_t steps, int compensation) {
  if (!work->changes) return;
  int moved = 0;
  double shifts[QUANTITIES] = {0};
  for (int i = 0; i < work->changes; i++) {
    Key *row = &E->key[work->changed[i]];
    for (int j = 0; j < row->weights; j++) {
      double change = work->values[i] - row->value;
      moved = 1;
      for (int q = 0; q < E->head.quantities; q++) shifts[q] += row->weight[j * E->head.quantities + q] * change;
    }
  }
  int closed = !record(E, work->tx);
  for (int i = 0; i < work->changes; i++) {
    Key *row = &E->key[work->changed[i]];
    if (closed) row->late += work->values[i] - row->value;
    row->value = work->values[i];
    row->has_value = 1;
  }
  if (E->node[work->node].lag) ship(E, work);
  if (record(E, work->tx)) effect(E, work->tx, steps, compensation, moved ? shifts : NULL, E->head.now);
}

static void drop(Engine *E, Work *work, int status) {
  if (E->node[work->node].open && is_branch(E, work)) {
    Place *place = find_place(E, work->tx, work->node);
    if (place && place->open) {
      Work *branch = place->open;
      place->open = NULL;
      E->node[work->node].open--;
      release(E, branch);
      end_work(E, branch);
    }
  }
  finish(E, work, status, 0);
}

static void refuse(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  work->status = REFUSED;
  work->changes = 0;
  if (template->type == TRANSACT && template->has_refused) {
    work->row = template->refused;
    if (!template->serial) release(E, work); /* else it keeps the lock of the outbox until its event is visible */
    harden(E, work);
    return;
  }
  release(E, work);
  drop(E, work, REFUSED);
}

static void harden(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Disk *disk = &E->node[work->node].disk;
  work->forced = 1;
  if (at_once(disk)) {
    note_instant(E, disk);
    if (template->type == PREPARE) hold(E, work);
    durable(E, work);
    return;
  }
  if (work->status == DONE || template->serial) hold(E, work);
  force(E, work->node, make_flush(E, (Flush){.what = DURABLE, .work = work}), work->tx);
}

static void commit_work(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  if (T) T->forced++;
  int status = work->status;
  if (template->key >= 0) {
    rotate(E, node);
    int value = work->row;
    if (!value) value = status == REFUSED ? E->head.refused_value : E->head.done_value;
    write_row(E, node, work->tx, template->key, value);
  }
  if (work->tombstone) write_row(E, node, work->tx, template->undoes, E->head.tombstone_value);
  if (work->changes && status == DONE) apply(E, work, work->steps, template->compensation);
  if (template->accepted_rows | template->refused_rows) commit_rows(E, work, status == REFUSED);
  if (work->keys) release(E, work);
  finish(E, work, status, 0);
}

static void durable(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  int known;
  if (template->type != TRANSACT) {
    prepared(E, work);
  } else if (template->key < 0 || !(known = row_of(E, &E->node[work->node], work->tx, template->key))) {
    commit_work(E, work);
  } else {
    Transaction *T = record(E, work->tx);
    if (T) T->forced++;
    release(E, work);
    finish(E, work, DUPLICATE, known);
  }
}

static void run_at_once(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  if (play_operations(E, work)) {
    work->row = template->accepted;
    if (!work->changes && template->key < 0 && !template->accepted_rows) {
      finish(E, work, DONE, 0);
      return;
    }
  } else {
    work->status = REFUSED;
    work->changes = 0;
    if (!template->has_refused) {
      finish(E, work, REFUSED, 0);
      return;
    }
    work->row = template->refused;
  }
  work->forced = 1;
  note_instant(E, &E->node[work->node].disk);
  commit_work(E, work);
}

static void evaluate(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Work *branch = open_of(E, work->tx, work->node);
  if (branch) {
    work->changes = branch->changes;
    memcpy(work->changed, branch->changed, (size_t)branch->changes * sizeof(int32_t));
    memcpy(work->values, branch->values, (size_t)branch->changes * sizeof(double));
  }
  if (!play_operations(E, work)) {
    refuse(E, work);
    return;
  }
  if (template->type == TRANSACT) {
    work->row = template->accepted;
    if (!work->changes && template->key < 0 && !template->accepted_rows) {
      release(E, work);
      finish(E, work, DONE, 0);
      return;
    }
  } else if (branch) {
    merge(E, branch, work);
    if (template->type == EXECUTE) {
      finish(E, work, DONE, 0);
      return;
    }
  } else if (template->type == EXECUTE) {
    hold(E, work);
    have_place(E, work->tx, work->node)->open = work;
    E->node[work->node].open++;
    finish(E, work, DONE, 0);
    return;
  }
  harden(E, work);
}

static void granted(Engine *E, Work *work) {
  if (work->inside < 0) {
    evaluate(E, work);
    return;
  }
  for (int i = 0; i < work->keys; i++) own(E, work, work->locked[i]);
  double demand = work->inside;
  work->inside = -1.0;
  spend(E, work, demand);
}

/* It has spent its service time with its locks. */
static void work_on(Engine *E, Work *work) {
  if (E->learned.template[work->template].serial == 2) {
    work->locked[work->keys++] = outbox_lock(E, work->node);
    acquire(E, work);
  } else {
    evaluate(E, work);
  }
}

/* It refuses before it looks at any row, so that it needs no lock. */
static int refuses(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  if (work->no_operations || template->serial) return 0;
  return work->refusing || (template->count && E->learned.operation[template->operations].kind == REFUSE);
}

static void run_work(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  if (template->key >= 0) {
    int known = row_of(E, node, work->tx, template->key);
    if (known) {
      finish(E, work, DUPLICATE, known);
      return;
    }
  }
  if (template->undoes >= 0) {
    int action = row_of(E, node, work->tx, template->undoes);
    if (action != template->undone_if) {
      work->no_operations = 1;
      if (!action) work->tombstone = 1;
    }
  }
  if (work->inside >= 0) {
    work->keys = 0;
    if (!refuses(E, work)) lockable_rows(E, work);
    acquire(E, work);
    return;
  }
  if (!node->owners && !node->open) {
    if (at_once(&node->disk) && template->type == TRANSACT) run_at_once(E, work);
    else evaluate(E, work);
    return;
  }
  if (refuses(E, work)) {
    refuse(E, work);
    return;
  }
  lockable(E, work);
  acquire(E, work);
}
