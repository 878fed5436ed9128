/* Branches of distributed transactions that are open or prepared: the second half of simtx.simulator.store. */

static void add_prepared(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  have_place(E, work->tx, work->node)->prepared = work;
  node->prepared++;
  work->prior = node->last_prepared;
  work->later = NULL;
  ENQUEUE(node->first_prepared, node->last_prepared, work, later);
}
static void take_prepared(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  have_place(E, work->tx, work->node)->prepared = NULL;
  node->prepared--;
  UNLINK(node->first_prepared, node->last_prepared, work, prior, later);
}

static void prepared(Engine *E, Work *work) {
  Transaction *T = record(E, work->tx);
  work->prepared_since = E->head.now;
  add_prepared(E, work);
  if (T) { T->forced++; T->prepared++; }
  finish(E, work, DONE, 0);
}

static void merge(Engine *E, Work *branch, Work *work) {
  branch->changes = work->changes;
  memcpy(branch->changed, work->changed, (size_t)work->changes * sizeof(int32_t));
  memcpy(branch->values, work->values, (size_t)work->changes * sizeof(double));
  for (int i = 0; i < work->keys; i++) {
    own(E, work, work->locked[i]);
    E->key[work->locked[i]].owner = branch;
    branch->locked[branch->keys++] = work->locked[i];
  }
  branch->locked_from += work->locked_from;
  branch->steps |= work->steps;
  if (E->learned.template[work->template].type == PREPARE) {
    work->keys = branch->keys;
    memcpy(work->locked, branch->locked, (size_t)branch->keys * sizeof(int32_t));
    work->locked_from = branch->locked_from;
    work->steps = branch->steps;
    for (int i = 0; i < work->keys; i++) E->key[work->locked[i]].owner = work;
    have_place(E, work->tx, work->node)->open = NULL;
    E->node[work->node].open--;
    end_work(E, branch);
  }
}

static void commit_prepared(Engine *E, Work *branch) {
  Template *template = &E->learned.template[branch->template];
  Node *node = &E->node[branch->node];
  take_prepared(E, branch);
  if (template->type == PREPARE) {
    if (template->key >= 0) {
      rotate(E, node);
      write_row(E, node, branch->tx, template->key, E->head.done_value);
    }
    apply(E, branch, branch->steps, 0);
  }
  release(E, branch);
  end_work(E, branch);
  drop_place(E, branch->tx, branch->node);
}

static int survives(Engine *E, Node *node, double since) {
  return node->disk.durable_until >= since || E->head.now - since > node->lazy_flush;
}

static void roll_back(Engine *E, Work *branch, int lazy) {
  Node *node = &E->node[branch->node];
  Place *place = have_place(E, branch->tx, branch->node);
  if (place->open) { place->open = NULL; node->open--; }
  if (place->prepared) {
    take_prepared(E, place->prepared);
    if (lazy && E->head.crashes) {
      Rolled *rolled = new_rolled(E);
      *rolled = (Rolled){E->head.now, branch, NULL};
      hold_work(branch);
      ENQUEUE(node->first_rolled, node->last_rolled, rolled, next);
      while (node->first_rolled && survives(E, node, node->first_rolled->since)) {
        Rolled *old = node->first_rolled;
        node->first_rolled = old->next;
        if (!node->first_rolled) node->last_rolled = NULL;
        let_work(E, old->branch);
        free_rolled(E, old);
      }
    }
  }
  release(E, branch);
  end_work(E, branch);
  drop_place(E, branch->tx, branch->node);
}
