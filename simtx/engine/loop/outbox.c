/* Tables of outbox rows: simtx.simulator.outbox. */

/* A worker begins on it, and its outbox rows, if it will have any, are numbered. */
static void begin_rows(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int rows = template->accepted_rows > template->refused_rows ? template->accepted_rows : template->refused_rows;
  if (template->type == TRANSACT && !node->at_commit && rows) {
    work->number = node->next_row;
    node->next_row += rows;
  }
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
static void commit_rows(Engine *E, Work *work, int refused) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int count = refused ? template->refused_rows : template->accepted_rows;
  if (!count) return;
  int64_t number = work->number;
  if (number < 0) {
    number = node->next_row;
    node->next_row += count;
  }
  for (int i = 0; i < count; i++) {
    int32_t event = refused ? template->refused_row[i] : template->accepted_row[i];
    int32_t claim = event < E->learned.claim_room ? E->learned.claim[event] - 1 : -1;
    if (claim >= 0 && E->claims && record(E, work->tx)) E->claims[work->tx].step[claim / STEPS] |= 1ull << claim % STEPS;
    Row *row = new_row(E);
    *row = (Row){number + i, work->tx, refused ? template->refused_row[i] : template->accepted_row[i], 0, 0.0, NULL, NULL, NULL};
    show_row(node, row);
  }
  if (E->head.wake_on_commit && node->relay.actor) call_in(E, 0.0, WAKE, node->relay.actor, node->relay.actor->gen);
}

static void mark_row(Engine *E, Node *node, Row *row) {
  if (row->before) row->before->next = row->next;
  else node->first_row = row->next;
  if (row->next) row->next->before = row->before;
  else node->last_row = row->before;
  node->rows--;
  if (!E->head.crashes) { free_row(E, row); return; }
  row->marked = E->head.now;
  row->next = NULL;
  if (node->last_mark) node->last_mark->next = row;
  else node->first_mark = row;
  node->last_mark = row;
  while (!buffered(E, node, node->first_mark->marked)) {
    Row *old = node->first_mark;
    node->first_mark = old->next;
    free_row(E, old);
  }
}
