/*
 * The compiled event loop of a simulated run. Begin to read here, then layout.h.
 *
 * It plays what simtx.simulator plays, event by event and in the same order, so that a run has the same digest. The files have the names of the
 * Python modules that they follow, and so have their functions, so that the two can be read side by side. They are compiled as one, in the order
 * below: from data to the clock, what is counted, the network, stores, machines, faults, and what Python describes and reads. The last one, search.c, has
 * nothing to do with runs: it is the loop of the checker's searches.
 *
 * The protocols are not here: a machine is two numbers, its state and the event that it meets, and a table gives
 * the next state and a program of effects. A pair that the table does not have is learned (simtx/engine/learn.py): a call into Python runs the
 * real machine once, and the loop goes on.
 *
 * Layout. The engine owns all memory. Things that live for a while (actors, local transactions, timers, writes) come from pools and are
 * known by their address; a thing that is used again has another `gen`. Transactions are one array, by number; what the metrics ask for
 * is in it. Python writes the description of the world before the run (description.c, learned.c) and reads the results after it.
 *
 * Order of events. The heap is ordered by time, then priority, then the order of scheduling, as in simtx.simulator.environment. Python has a heap
 * of its own for what is rare (samples, faults); both count the order of scheduling with `seq`, and `run` returns when Python's turn has come.
 *
 * Equality. Every push into the heap, every draw and every sum of floating-point numbers is in the order of the Python code, under the same name.
 * To be compiled without -ffast-math and with -ffp-contract=off. Only + - * / and comparisons are used on numbers of the model.
 */
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "memory.h"

#include "environment.c"
#include "by_transaction.c"
#include "common_mode.c"

#include "stations.c"
#include "places.c"
#include "ledger.c"

#include "pauses.c"
#include "host.c"
#include "breaker.c"
#include "timers.c"
#include "network.c"
#include "clients.c"

#include "workers.c"
#include "disk.c"
#include "node_log.c"
#include "row_locks.c"
#include "deadlocks.c"
#include "replica.c"
#include "outbox.c"
#include "store.c"
#include "branches.c"

#include "node.c"
#include "provider.c"
#include "broker.c"
#include "votes.c"
#include "relay.c"
#include "crash.c"

#include "end_of_run.c"
#include "learned.c"
#include "sampler.c"
#include "description.c"
#include "search.c"

/* --- the loop ------------------------------------------------------------------------------------------------------------------------------- */

static int run(Engine *E) {
  Head *H = &E->head;
  while (!H->error) {
    Entry python = {H->python_time, H->python_key, NULL, 0}, sample = {E->samples.due, E->samples.key, NULL, 0};
    const Entry *first = E->entries ? E->heap : &python;
    if (!before(first->time, first->key, &sample) && !before(python.time, python.key, &sample)) { take_sample(E); continue; }
    if (!E->entries || !before(first->time, first->key, &python)) return PYTHON;
    if (++H->beat == LOOK_EVERY) { H->beat = 0; return LOOK; }
    Entry entry = pop(E);
    H->now = entry.time;
    switch (entry.key & 63) {
    case STOP:
      H->seq++; /* SimPy schedules what is left of an event at which it stopped */
      return STOPPED;
    case MESSAGE: receive(E, entry.number >> 24, (int32_t)(entry.number & 0xFFFFFF)); break;
    case FLUSHED: flushed(E, entry.thing); break;
    case BATCH: batch_flushed(E, entry.thing, (int)entry.number); break;
    case SERVED:
      served(E, entry.thing);
      let_work(E, entry.thing);
      break;
    case WORKED:
      worked(E, entry.thing);
      let_work(E, entry.thing);
      break;
    case GIVE_UP:
      give_up(E, entry.thing);
      let_work(E, entry.thing);
      break;
    case LANE: tick(E, entry.thing); break;
    case RING: ring(E, entry.thing); break;
    case ARRIVE: arrive(E); break;
    case AT_THE_NODE: at_the_node(E, entry.thing); break;
    case ASK_AGAIN: ask_again(E, entry.thing); break;
    case SILENCE: {
      Call *call = entry.thing;
      if (call->attempt == entry.number && !E->tx[call->tx].asking) ask_again(E, call);
      break;
    }
    case NO_ANSWER:
      if (!H->insists) free_call(E, entry.thing);
      break;
    case ANSWER_ARRIVES: answer_arrives(E, entry.number); break;
    case LEAVE:
      leave_producer(E, entry.thing);
      let_publication(E, entry.thing);
      break;
    case AT_THE_BROKER:
      at_the_broker(E, entry.thing);
      break;
    case STORE:
      store_message(E, entry.thing);
      let_publication(E, entry.thing);
      break;
    case CONFIRM:
      settle_publication(E, entry.thing, 1);
      let_publication(E, entry.thing);
      break;
    case TURN_AWAY:
      settle_publication(E, entry.thing, 0);
      let_publication(E, entry.thing);
      break;
    case DELIVER: {
      receive_delivery(E, entry.number >> 24, (int32_t)(entry.number & 0xFFFFFF), (int64_t)(intptr_t)entry.thing);
      break;
    }
    case ACKNOWLEDGED: acknowledged(E, entry.number); break;
    case AT_THE_VOTES:
      at_the_votes(E, entry.thing);
      let_ballot(E, entry.thing);
      break;
    case VOTE_ARRIVES:
      vote_arrives(E, entry.thing);
      let_ballot(E, entry.thing);
      break;
    case WAKE:
      wake(E, (Waiting){.kind = WAKE, .thing = entry.thing, .gen = (uint32_t)entry.number, .number = entry.number >> 32});
      break;
    case HOST_DONE: host_done(E, entry.thing, entry.number); break;
    case LOSE_PATIENCE: lose_patience(E, entry.number); break;
    case PROVIDED: go_on_asked(E, entry.thing); break;
    default: fail(E, 7);
    }
  }
  return FAILED;
}

EXPORT int engine_run(Engine *E) {
  GUARD(E, FAILED)
  return run(E);
}
