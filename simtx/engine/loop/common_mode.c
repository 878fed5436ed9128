/* Draws that follow a factor which all links or all disks have in common: simtx.simulator.common_mode. */

/* The common factor now. */
static double factor(Engine *E) {
  int64_t place = (int64_t)(E->head.now / E->head.factor_step), piece = place / PAGE;
  if (piece != E->factor_piece) {
    E->factor_piece = piece;
    if (ASK(E, fill(-1, piece, 0, PAGE, 1, E->factor))) fail(E, 3);
  }
  return E->factor[place % PAGE];
}

/* A draw that follows the common factor. `threshold` says where the quantile's cell changes, so that nothing transcendental is computed here. */
static double at_normal(Engine *E, int stream, double own) {
  Stream *S = &E->stream[stream];
  double normal = S->share * factor(E);
  normal += S->rest_share * own;
  int low = 0, high = S->cells - 1; /* the cell is the number of thresholds that are not above */
  while (low < high) {
    int middle = (low + high) / 2;
    if (S->threshold[middle] <= normal) low = middle + 1;
    else high = middle;
  }
  if (low < S->cells - 1 || !S->exact) return S->quantile[low];
  if (ASK(E, fill(stream, -1, -1, 1, 1, &normal))) fail(E, 3); /* the tail has no end that a table could hold */
  return normal;
}

/* A second random number from the same draw. */
static double digits(double normal) {
  double shifted = fabs(normal) * 1048576.0;
  return shifted - floor(shifted);
}

/* The next number of a stream that follows the common factor. A forced write may end together with another node's. */
static double draw_together(Engine *E, int stream, int64_t tx) {
  const Stream *S = &E->stream[stream];
  double own = draw(E, S->own, tx), now = E->head.now;
  if (S->shared_flush == 0) return at_normal(E, stream, own);
  int beside = E->writer >= 0 && E->writer != stream && now - E->write_begun <= S->within;
  double took = beside && E->write_ends >= now && digits(own) < S->shared_flush ? E->write_ends - now : at_normal(E, stream, own);
  E->writer = stream;
  E->write_begun = now;
  E->write_ends = now + took;
  return took;
}
