/* The workers of a service: simtx.simulator.workers. */

static void run_work(Engine *E, Work *work);
static void begin_rows(Engine *E, Work *work);
static void work_on(Engine *E, Work *work);
static void provide(Engine *E, Work *work);

/* Whether a worker is to begin with this: 0 if it may still be refused, and the deadline of the client is over. It is refused then. `Node.wanted` in Python. */
static int wanted(Engine *E, Work *work) {
  Transaction *T = record(E, work->tx);
  Template *template = &E->learned.template[work->template];
  int is_transact = template->type == TRANSACT;
  if (!E->head.deadline_travels || !T || T->answer || (work->actor && work->actor->undated) || !template->steps || (is_transact && template->compensation)) return 1;
  if (E->head.now <= T->arrival + E->head.deadline || (is_transact && work->steps & E->head.retriable)) return 1;
  work->refusing = 1;
  if (work->inside > 0) work->inside = 0.0;
  E->node[work->node].expired++;
  return 0;
}

static void served(Engine *E, Work *work) {
  if (work->epoch != E->node[work->node].pool.epoch) return;
  if (E->process[work->node].host && work->inside < 0) {
    hold_work(work);
    takes_time(E, work->node, (Waiting){.kind = SERVED, .thing = work});
  } else {
    run_served(E, work);
  }
}

/* Likewise, and its process has had the time for it. */
static void run_served(Engine *E, Work *work) {
  if (work->epoch != E->node[work->node].pool.epoch) return;
  if (wait(E, work->node, (Waiting){.kind = SERVED, .thing = work})) hold_work(work);
  else if (E->node[work->node].provider.exists && !work->refusing) provide(E, work);
  else run_work(E, work);
}

/* The worker of a local transaction has spent its service time with the locks in hand. */
static void worked(Engine *E, Work *work) {
  if (work->epoch != E->node[work->node].pool.epoch) return;
  if (E->process[work->node].host) {
    hold_work(work);
    takes_time(E, work->node, (Waiting){.kind = WORKED, .thing = work});
  } else {
    run_worked(E, work);
  }
}

static void run_worked(Engine *E, Work *work) {
  if (work->epoch != E->node[work->node].pool.epoch) return;
  if (wait(E, work->node, (Waiting){.kind = WORKED, .thing = work})) hold_work(work);
  else work_on(E, work);
}

static void spend(Engine *E, Work *work, double demand) {
  Pool *pool = &E->node[work->node].pool;
  pool->work += demand * pool->factor;
  if (demand > 0) {
    hold_work(work);
    push(E, E->head.now + demand * pool->factor, NORMAL, WORKED, work, 0);
  } else {
    worked(E, work);
  }
}

static int submit(Engine *E, Work *work, double demand) {
  Pool *pool = &E->node[work->node].pool;
  double now = E->head.now;
  if (pool->free) {
    pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
    pool->since = now;
    pool->free--;
    work->epoch = pool->epoch;
    begin_rows(E, work);
    if (!wanted(E, work)) demand = 0.0;
    work->since = now;
    enter(&pool->served, now);
    pool->work += demand * pool->factor;
    if (demand > 0) {
      hold_work(work);
      push(E, now + demand * pool->factor, NORMAL, SERVED, work, 0);
    } else {
      served(E, work);
    }
    return 1;
  }
  if (pool->limit >= 0 && pool->waiting_count >= pool->limit) return 0;
  work->since = now;
  work->demand = demand;
  work->next = NULL;
  enter(&pool->waiting, now);
  ENQUEUE(pool->head, pool->tail, work, next);
  pool->waiting_count++;
  return 1;
}

static void release_worker(Engine *E, Work *work) {
  Pool *pool = &E->node[work->node].pool;
  double now = E->head.now;
  leave(&pool->served, now, work->since);
  Work *following = pool->head;
  if (following) {
    pool->head = following->next;
    if (!pool->head) pool->tail = NULL;
    pool->waiting_count--;
    following->epoch = pool->epoch;
    begin_rows(E, following);
    if (!wanted(E, following)) following->demand = 0.0;
    leave(&pool->waiting, now, following->since);
    following->since = now;
    enter(&pool->served, now);
    pool->work += following->demand * pool->factor;
    hold_work(following);
    push(E, now + following->demand * pool->factor, NORMAL, SERVED, following, 0);
    return;
  }
  pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
  pool->since = now;
  pool->free++;
}
