/* Read replicas: simtx.simulator.replica. */

/* A commit leaves the primary; it never becomes visible before an earlier one. */
static void ship(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  double visible = E->head.now + draw(E, node->lag, work->tx);
  if (node->last_shipped && node->last_shipped->visible > visible) visible = node->last_shipped->visible;
  for (int i = 0; i < work->changes; i++) {
    Shipped *one = new_shipped(E);
    *one = (Shipped){visible, work->values[i], work->changed[i], NULL};
    ENQUEUE(node->first_shipped, node->last_shipped, one, next);
  }
}

/* The value that a reader gets at the replica. */
static double read_replica(Engine *E, Node *node, Key *row) {
  while (node->first_shipped && node->first_shipped->visible <= E->head.now) {
    Shipped *one = node->first_shipped;
    node->first_shipped = one->next;
    if (!one->next) node->last_shipped = NULL;
    E->key[one->key].replica = one->value;
    free_shipped(E, one);
  }
  node->replica_reads++;
  if (row->replica != row->value) node->stale_reads++;
  return row->replica;
}
