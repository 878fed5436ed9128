/* Tables of outbox rows: simtx.simulator.outbox. */

/* Whether a local transaction gets a number of its own from the database: not if it only reads, unless it is a branch that is prepared. */
static int writes(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  if (template->type == PREPARE || (template->type == TRANSACT && (template->key >= 0 || template->accepted_rows || template->refused_rows))) return 1;
  for (int i = 0; i < template->count; i++) {
    int kind = E->learned.operation[template->operations + i].kind;
    if (kind == ADD || kind == SET) return 1;
  }
  return 0;
}

/* It is over, or is a branch from here on. */
static void leave_begun(Node *node, Work *work) {
  if (!work->begun) return;
  work->begun = 0;
  UNLINK(node->first_begun, node->last_begun, work, begun_before, begun_next);
}

static void begin_work(Node *node, Work *work) {
  leave_begun(node, work); /* it may begin once more: when its provider has answered */
  work->begun = 1;
  work->ticket = node->next_row;
  work->begun_next = NULL;
  work->begun_before = node->last_begun;
  ENQUEUE(node->first_begun, node->last_begun, work, begun_next);
}

/* Rows of local transactions from this number on are not to be read yet: one that has begun before them is under way. */
static int64_t horizon_of(Engine *E, int number) {
  Node *node = &E->node[number];
  int64_t horizon = node->next_row;
  if (node->at_commit) return horizon;
  if (node->open) fail(E, 9);
  for (Work *work = node->first_begun; work; work = work->begun_next)
    if (writes(E, work)) {
      if (work->ticket < horizon) horizon = work->ticket;
      break;
    }
  for (Work *branch = node->first_prepared; branch; branch = branch->later)
    if (branch->ticket < horizon) horizon = branch->ticket;
  return horizon;
}

/* It begins, and its outbox rows, if it will have any, are numbered. */
static void number_rows(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int rows = template->accepted_rows > template->refused_rows ? template->accepted_rows : template->refused_rows;
  if (node->keeps_horizon) begin_work(node, work);
  if (template->type == TRANSACT && !node->at_commit && !template->serial && rows) {
    work->number = node->next_row;
    node->next_row += rows;
  }
}

/* Likewise, when a worker begins on it; with a provider, its own local transaction begins when that has answered. */
static void begin_rows(Engine *E, Work *work) {
  if (!E->node[work->node].provider.exists) number_rows(E, work);
}

/* A row is visible from now on, in the order of its number. */
static void show_row(Node *node, Row *row) {
  Row *before = node->last_row;
  while (before && before->number > row->number) before = before->before;
  row->before = before;
  row->next = before ? before->next : node->first_row;
  if (row->next) row->next->before = row;
  else node->last_row = row;
  if (before) before->next = row;
  else node->first_row = row;
  node->rows++;
}

/* The outbox rows of a local transaction appear, in the order of their numbers, and the relay is woken if the strategy wants it. */
static void show_rows(Engine *E, Work *work, Template *template, int refused) {
  Node *node = &E->node[work->node];
  int count = refused ? template->refused_rows : template->accepted_rows;
  if (!count) return;
  int64_t number = work->number;
  if (number < 0) {
    number = node->next_row;
    node->next_row += count;
  }
  for (int i = 0; i < count; i++) {
    Row *row = new_row(E);
    *row = (Row){number + i, number, work->tx, refused ? template->refused_row[i] : template->accepted_row[i], NOBODY, 0.0, NULL, NULL, NULL};
    show_row(node, row);
  }
  if (E->head.wake_on_commit && node->relay.actor) call_in(E, 0.0, WAKE, node->relay.actor, (int64_t)work->node << 32 | node->relay.actor->gen);
}

/* Likewise of one that has committed: what its events say is kept. */
static void commit_rows(Engine *E, Work *work, int refused) {
  Template *template = &E->learned.template[work->template];
  int count = refused ? template->refused_rows : template->accepted_rows;
  for (int i = 0; i < count; i++) {
    int32_t event = refused ? template->refused_row[i] : template->accepted_row[i];
    int32_t claim = event < E->learned.claim_room ? E->learned.claim[event] - 1 : -1;
    if (claim >= 0 && E->claims && record(E, work->tx)) E->claims[work->tx].step[claim / STEPS] |= 1ull << claim % STEPS;
  }
  show_rows(E, work, template, refused);
}

static void mark_row(Engine *E, Node *node, Row *row) {
  UNLINK(node->first_row, node->last_row, row, before, next);
  node->rows--;
  if (!E->head.crashes) { free_row(E, row); return; }
  row->marked = E->head.now;
  row->next = NULL;
  ENQUEUE(node->first_mark, node->last_mark, row, next);
  while (!buffered(E, node, node->first_mark->marked)) {
    Row *old = node->first_mark;
    node->first_mark = old->next;
    free_row(E, old);
  }
}
