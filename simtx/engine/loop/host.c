/* Hosts, whose cores go round among the processes that have something to do: simtx.simulator.host; nodes on them: simtx.simulator.hosted. */

static const double ALMOST = 1e-12; /* seconds of processor time: less than what rounding loses */

static void do_job(Engine *E, Waiting *what);
static void call_leaves(Engine *E, Call *call);
static void delivered(Engine *E, Waiting what);
static void tell_now(Engine *E, Waiting what);
static void wake_now(Engine *E, Waiting what);
static void taken(Engine *E, Publication *publication);
static void pass_on(Engine *E, Waiting what);

/* How many cores our jobs have: neighbours take their part, job by job. */
static double cores_of(Host *host) {
  double count = (double)host->count;
  double cores = host->neighbours ? (double)host->cores * count / (count + (double)host->neighbours) : (double)host->cores;
  return cores < count ? cores : count;
}

static void advance_host(Engine *E, Host *host) {
  double span = E->head.now - host->moment;
  host->moment = E->head.now;
  double left = span > 0 ? cores_of(host) : 0.0;
  for (Job *job = host->first; job && left > 0; job = job->on_host, left -= 1.0)
    job->demand -= span * (host->speed * (left < 1.0 ? left : 1.0));
}

/* Come back when the next job is done, unless somebody comes or leaves before. */
static void schedule_host(Engine *E, Host *host) {
  host->version++;
  host->next = NULL;
  double soonest = 0.0, left = cores_of(host);
  for (Job *job = host->first; job && left > 0; job = job->on_host, left -= 1.0) {
    double needs = job->demand / (host->speed * (left < 1.0 ? left : 1.0));
    if (!host->next || needs < soonest) {
      host->next = job;
      soonest = needs;
    }
  }
  if (host->next) call_in(E, soonest > 0.0 ? soonest : 0.0, HOST_DONE, host, host->version);
}

/* A job wants time from now on, behind all others, or before them. */
static void enter_host(Engine *E, Host *host, Job *job, int first) {
  advance_host(E, host);
  if (first) {
    job->on_host = host->first;
    host->first = job;
    if (!host->last) host->last = job;
  } else {
    job->on_host = NULL;
    ENQUEUE(host->first, host->last, job, on_host);
  }
  host->count++;
  schedule_host(E, host);
}

static void take_off(Host *host, Job *job) {
  Job *before = NULL;
  for (Job *one = host->first; one; before = one, one = one->on_host) {
    if (one != job) continue;
    if (before) before->on_host = job->on_host;
    else host->first = job->on_host;
    if (host->last == job) host->last = before;
    host->count--;
    return;
  }
}

/* A job wants no more time for now; what it still needs is kept with it. */
static void leave_host(Engine *E, Host *host, Job *job) {
  advance_host(E, host);
  take_off(host, job);
  schedule_host(E, host);
}

static void start_job(Engine *E, Process *process, Job *job) {
  if (!process->first) process->busy_since = E->head.now;
  job->next = NULL;
  ENQUEUE(process->first, process->last, job, next);
  process->running++;
  if (!process->keeps) process->sliced = 0.0;
  enter_host(E, process->host, job, process->keeps);
}

static void fill(Engine *E, Process *process) {
  while (process->first_waiting && process->running < process->width) {
    Job *job = process->first_waiting;
    process->first_waiting = job->next;
    if (!process->first_waiting) process->last_waiting = NULL;
    start_job(E, process, job);
  }
}

/* Another process of the node takes so much processor time, for which nobody waits. */
static void aside(Engine *E, Process *process, double demand) {
  if (demand <= 0) return;
  Job *job = new_job(E);
  *job = (Job){.demand = demand, .size = demand, .what = {.kind = ASIDE}, .process = process};
  enter_host(E, process->host, job, 0);
}

static void take_job(Engine *E, Process *process, double demand, double others, Waiting what, int first) {
  Job *job = new_job(E);
  *job = (Job){.demand = demand, .size = demand, .aside = others, .what = what, .process = process};
  int behind = process->first_waiting && !first; /* while a job calls back, those who came before it are still waiting */
  if (process->running < process->width && !process->halted && !behind) { start_job(E, process, job); return; }
  if (first) {
    job->next = process->first_waiting;
    process->first_waiting = job;
    if (!process->last_waiting) process->last_waiting = job;
    return;
  }
  ENQUEUE(process->first_waiting, process->last_waiting, job, next);
}

/* Take so much processor time, after what came before, then have others take some aside, and do it. */
static void run_process(Engine *E, Process *process, double demand, double others, Waiting what) {
  if (demand <= 0 && !process->first && !process->first_waiting && !process->halted) {
    aside(E, process, others);
    do_job(E, &what);
  } else {
    take_job(E, process, demand, others, what, 0);
  }
}

static void takes_its_time(Engine *E, Process *process, Waiting what) {
  if (what.kind == SERVED || what.kind == WORKED) run_process(E, process, process->transaction, process->transaction_aside, what);
  else if (what.kind == FORCE_WRITE) run_process(E, process, process->forced_write, process->forced_write_aside, what);
  else run_process(E, process, process->event, process->event_aside, what);
}

/* A process stops getting time; what it has to do stays. It gets time again. */
static void halt(Engine *E, Process *process) {
  if (!process->host || process->halted) return;
  process->halted = 1;
  for (Job *job = process->first; job; job = job->next) leave_host(E, process->host, job);
}

static void unhalt(Engine *E, Process *process) {
  if (!process->host || !process->halted) return;
  process->halted = 0;
  for (Job *job = process->first; job; job = job->next) enter_host(E, process->host, job, 0);
  fill(E, process);
}

static void drop_jobs(Engine *E, Job *job) {
  while (job) {
    Job *next = job->next;
    if (job->what.kind == RING) free_token(E, job->what.thing);
    if (job->what.kind == SERVED || job->what.kind == WORKED) let_work(E, job->what.thing);
    if (job->what.kind == FORCE_WRITE) free_flush(E, job->what.thing);
    if (job->what.kind == TAKEN) let_publication(E, job->what.thing);
    job->process = NULL;
    if (!job->over) free_job(E, job);
    job = next;
  }
}

/* Forget everything, but for what others have to do. */
static void crash_process(Engine *E, Process *process) {
  if (!process->host) return;
  if (!process->halted)
    for (Job *job = process->first; job; job = job->next) leave_host(E, process->host, job);
  if (process->first) process->busy_time += E->head.now - process->busy_since;
  drop_jobs(E, process->first);
  drop_jobs(E, process->first_waiting);
  process->first = process->last = process->first_waiting = process->last_waiting = NULL;
  process->running = process->halted = 0;
}

/* The host has given a job its time; one that ends at the same moment may have crashed the process. */
static void finished(Engine *E, Job *job) {
  Process *process = job->process;
  if (!process || job->what.kind == ASIDE) { free_job(E, job); return; }
  Job *before = NULL;
  for (Job *one = process->first; one != job; one = one->next) before = one;
  if (before) before->next = job->next;
  else process->first = job->next;
  if (process->last == job) process->last = before;
  process->running--;
  if (!process->first) process->busy_time += E->head.now - process->busy_since;
  process->sliced += job->size;
  process->keeps = process->sliced < process->host->quantum;
  Waiting what = job->what;
  double others = job->aside;
  free_job(E, job);
  aside(E, process, others);
  do_job(E, &what);
  if (!process->halted) fill(E, process);
  process->keeps = 0;
}

static void host_done(Engine *E, Host *host, int64_t version) {
  if (version != host->version || !host->next) return; /* somebody has come or left meanwhile */
  advance_host(E, host);
  host->next->demand = 0.0; /* whatever rounding has left */
  Job *over = NULL, *last = NULL, *job = host->first;
  while (job) {
    Job *next = job->on_host;
    if (job->demand <= ALMOST) {
      take_off(host, job);
      job->over = 1;
      job->after = NULL;
      ENQUEUE(over, last, job, after);
    }
    job = next;
  }
  schedule_host(E, host);
  while (over) {
    Job *next = over->after;
    finished(E, over);
    over = next;
  }
}

/* A process on a host, by the number of its node: how many cores it can use, and its processor times those aside behind the others, then that of a restart. */
EXPORT void engine_process(Engine *E, int number, int host, int width, const double *times) {
  E->process[number] = (Process){
      .host = &E->host[host], .width = width, .event = times[0], .effect = times[1], .transaction = times[2], .forced_write = times[3],
      .restart = times[8],
      .event_aside = times[4], .transaction_aside = times[5], .forced_write_aside = times[6], .mark_aside = times[7]};
}
EXPORT void engine_host(Engine *E, int host, int cores, int neighbours, double speed, double quantum) {
  E->host[host] = (Host){.cores = cores, .neighbours = neighbours, .speed = speed, .quantum = quantum};
}

/* Seconds in which a process had something to do, until now. */
EXPORT double engine_process_busy(Engine *E, int number) {
  Process *process = &E->process[number];
  if (process->first) {
    process->busy_time += E->head.now - process->busy_since;
    process->busy_since = E->head.now;
  }
  return process->busy_time;
}

/* The next time slice of a start; with the last one of all the node comes back, which is Python's to tell the broker and the relay. */
static void go_on_starting(Engine *E, int number, Process *process) {
  if (process->left > 0) {
    double part = process->left < process->host->quantum ? process->left : process->host->quantum;
    process->left -= part;
    run_process(E, process, part, 0.0, (Waiting){.kind = START, .number = number, .thing = process});
  } else if (!--E->starting[number]) {
    ASK(E, started(number));
  }
}

/* A node that was down starts anew: its process, and that of a relay beside it, which starts at the same time. 0: its restart takes no processor time. */
EXPORT int engine_start(Engine *E, int number, int relay) {
  GUARD(E, 0)
  Process *process = &E->process[number], *beside = &E->beside[number];
  if (E->node[number].up || !process->host || !(process->restart > 0)) return 0;
  *beside = (Process){.host = process->host, .width = process->width};
  process->left = beside->left = process->restart;
  E->starting[number] = 1 + relay;
  go_on_starting(E, number, process);
  if (relay) go_on_starting(E, number, beside);
  return 1;
}

/* What has not come back yet crashes again. */
static void stop_starting(Engine *E, int number) {
  if (!E->starting[number]) return;
  crash_process(E, &E->process[number]);
  crash_process(E, &E->beside[number]);
  E->starting[number] = 0;
}

/* A process has had the time for something. */
static void do_job(Engine *E, Waiting *what) {
  switch (what->kind) {
  case MESSAGE: received(E, what->tx, what->event); break;
  case AT_THE_NODE: requested(E, what->tx); break;
  case RING: ring_now(E, what->thing); break;
  case SENT:
    if (!wait(E, ((RunningMachine *)what->thing)->node, *what)) sent(E, what->thing);
    break;
  case DELIVER: delivered(E, *what); break;
  case CONFIRM: tell_now(E, *what); break;
  case WAKE: wake_now(E, *what); break;
  case TAKEN: taken(E, what->thing); break;
  case PASS_ON: pass_on(E, *what); break;
  case SERVED:
    run_served(E, what->thing);
    let_work(E, what->thing);
    break;
  case WORKED:
    run_worked(E, what->thing);
    let_work(E, what->thing);
    break;
  case FORCE_WRITE: force(E, (int)what->number, what->thing, what->tx); break;
  case CALL: call_leaves(E, what->thing); break;
  case START: go_on_starting(E, (int)what->number, what->thing); break;
  default: fail(E, 7);
  }
}

/* Stop handling anything, as a long garbage collection or a stopped process does. */
EXPORT void engine_pause(Engine *E, int number) {
  GUARD(E, )
  if (!E->node[number].up) return;
  E->node[number].paused = 1;
  halt(E, &E->process[number]);
}

/* Go on after a pause: what came in meanwhile is handled in its order. */
EXPORT void engine_unpause(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  unhalt(E, &E->process[number]);
  Waiting *all = node->first_waiting;
  node->paused = 0;
  node->first_waiting = node->last_waiting = NULL;
  while (all && !E->head.error) {
    if (node->paused || !node->up) { /* an aimed crash */
      ENQUEUE(node->first_waiting, node->last_waiting, all, next);
      while (node->last_waiting->next) node->last_waiting = node->last_waiting->next;
      return;
    }
    Waiting *one = all;
    all = one->next;
    handle_waiting(E, one);
    free_waiting(E, one);
  }
}
