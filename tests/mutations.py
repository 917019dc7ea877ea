"""The one list of mutations: spooler broken on purpose, and the tests that find it out.

Each row names a promise, what is broken, the change of the source, and tests that must fail with it. A test
that no mutation can make fail proves nothing; a promise without a row has no proof.

    python tests/mutations.py                 all of them
    python tests/mutations.py --only sync     those whose promise or change names it
    python tests/mutations.py --list          the table, running nothing
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

import spooler

TESTS = Path(__file__).parent
_TIMEOUT_SECONDS = 300
_FAILED = 1  # pytest's exit status when tests ran, and some failed
_HANGS = -1  # which is no finding: it would hang, or not, whatever is broken

DURABLE = "200 means on the disk, across a power cut"
KEPT = "what was answered with 200 stays until it was processed"
AUTHENTIC = "only what the sender signed is stored"
ORDER = "none overtakes an older one of its contact"
ONCE = "nothing runs twice but what was interrupted"
TRUE = "the folders tell the truth"
RULES = "the sender that is played keeps the platform's rules"
BOUNDED = "nobody outside can fill memory, disk or log"
HARMLESS = "no text from outside becomes a path, a line of a log or a terminal's command"
PROMPT = "what arrives is noticed at once"
CLEAR = "a mistake is told in one clear line"
ALIVE = "a script that stays alive answers for what it has in hand, and for nothing else"


@dataclass(frozen=True)
class Mutation:
    """A change of one module: each old text, which stands there once, becomes the new one.

    tests: as pytest names them, from the folder of the tests; each must fail.
    """

    promise: str
    broken: str
    module: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


_ORDER_OF_CALLS = (
    "test_system_calls.py::test_200_is_said_when_file_and_folder_are_synced_and_a_broken_receiver_is_found_out"
    "[as it is]"
)
_POWER_LOSS = "test_power_loss.py::test_what_was_promised_is_there_after_a_power_cut"
_POWER_LOSS_RECEIVING = tuple(
    f"{_POWER_LOSS}[receive-{disk}]" for disk in ("ext4-cut", "ext4-record", "xfs-cut", "xfs-record")
)
_LAST_TOGETHER = (
    "test_turn.py::"
    "test_what_the_last_script_did_gets_onto_the_disk_when_the_file_has_moved_and_its_mark_stands_till_then"
)
_FINISHED_FOR_GOOD = (
    "test_recovery.py::"
    "test_what_had_only_just_been_finished_is_so_for_good_and_tells_if_its_last_line_was_lost"
)
_POWER_LOSS_RUNNING = f"{_POWER_LOSS}[run-ext4-record]"
_POWER_LOSS_SLOW = "test_power_loss.py::test_on_a_slow_disk_too_what_was_promised_is_there_after_a_power_cut"
_SYNCED_LATER = "(lambda moved: (__import__('spooler.spool').spool.sync_moved([moved]), moved.name)[1])"  # and its log, too
_NOTED_BEFORE = "test_turn.py::test_a_note_that_no_mark_vouches_for_is_on_the_disk_before_the_file_moves"
_MOVES = "test_claiming.py::test_a_legal_move_brings_file_and_log_into_the_folder_that_the_table_names"

_TRIED_AGAIN = (
    "test_faults.py::test_a_sync_that_failed_is_not_tried_again_though_the_kernel_would_say_yes_then"
)
_KILLED = "test_crash_campaign.py::test_a_kill_between_two_calls_loses_nothing_and_has_nothing_done_twice"

_MOVED_BEFORE_READ = (
    "test_any_listing.py::test_what_a_person_moves_between_the_two_folders_before_it_is_read_is_not_overtaken"
)
_ANY_LISTING = tuple(
    f"test_any_listing.py::test_whatever_listings_miss_nobody_is_overtaken_and_nobody_left[{clock}-100]"
    for clock in (0, 1)
)

MUTATIONS = (
    Mutation(
        DURABLE,
        "the file isn't synced",
        "durable.py",
        (("        if sync:\n", "        if False:\n"),),
        (_ORDER_OF_CALLS, *_POWER_LOSS_RECEIVING),
    ),
    Mutation(
        DURABLE,
        "the folder isn't synced after the rename",
        "durable.py",
        (
            (
                "        os.fsync(folder)\n    except OSError as error:\n",
                "        pass\n    except OSError as error:\n",
            ),
        ),
        (_ORDER_OF_CALLS, *_POWER_LOSS_RECEIVING),
    ),
    Mutation(
        DURABLE,
        "renamed before the file is synced",
        "durable.py",
        (
            (
                "    _write(folder, files, sync=True)\n",
                "    _write(folder, files, sync=False)\n",
            ),
            (
                "        os.fsync(folder)\n    except OSError as error:\n",
                "        late = os.open(synced[0].name, os.O_RDONLY, dir_fd=folder)\n        os.fsync(late)\n"
                "        os.close(late)\n        os.fsync(folder)\n    except OSError as error:\n",
            ),
        ),
        (_ORDER_OF_CALLS,),
    ),
    Mutation(
        DURABLE,
        "a new state's folder isn't synced into its parent",
        "spool.py",
        (("                    durable.sync_folder(place.parent)\n", "                    pass\n"),),
        ("test_spool.py::test_the_folders_are_on_the_disk_before_anything_is_stored_in_them",),
    ),
    Mutation(
        DURABLE,
        "folders that another made are taken to be synced",
        "spool.py",
        (("            for place in (self.base, self.root):\n", "            for place in ():\n"),),
        ("test_spool.py::test_folders_that_another_made_and_may_not_have_synced_are_synced",),
    ),
    Mutation(
        KEPT,
        "a day's folder that another made is taken to be synced",
        "spool.py",
        (
            (
                "                self._synced_days.discard(day)\n",
                "                durable.sync_folder(parent)\n",
            ),
            ("            if day not in self._synced_days:\n", "            if False:\n"),
        ),
        ("test_claiming.py::test_a_day_that_another_made_and_may_not_have_synced_is_synced_once",),
    ),
    Mutation(
        KEPT,
        "a move isn't synced",
        "spool.py",
        (("            durable.sync_folder(folder)\n        except", "            pass\n        except"),),
        (_MOVES,),
    ),
    Mutation(
        KEPT,
        "neither a move nor the log that it brought along is synced",
        "spool.py",
        (
            ("                durable.sync_and_close(one.log)\n", "                pass\n"),
            ("            durable.sync_folder(folder)\n        except", "            pass\n        except"),
        ),
        (_MOVES, _POWER_LOSS_RUNNING),
    ),
    Mutation(
        KEPT,
        "a log that grew since its sync isn't synced when it is moved",
        "claiming.py",
        (("        self._synced_logs.discard(log)\n        history.append", "        history.append"),),
        (
            "test_claiming.py::test_a_log_whose_last_line_was_synced_is_not_synced_again_and_one_that_grew_since_is",
        ),
    ),
    Mutation(
        KEPT,
        "the lines that join a log aren't synced before their own is removed",
        "spool.py",
        (("history.read(log), sync=True)", "history.read(log))"),),
        ("test_spool.py::test_a_log_that_is_in_the_way_keeps_its_lines_in_front",),
    ),
    Mutation(
        KEPT,
        "when a retry is due isn't synced",
        "claiming.py",
        (("        durable.sync_file(path)\n        return self._move(", "        return self._move("),),
        (_MOVES,),
    ),
    Mutation(
        KEPT,
        "a pause isn't synced",
        "person.py",
        (("        durable.sync_folder(self.base)\n        durable.sync_folder(self.root)\n", ""),),
        ("test_person.py::test_a_pause_and_its_end_survive_a_power_cut",),
    ),
    Mutation(
        ONCE,
        "the mark of a run isn't synced before the script starts",
        "running.py",
        (("                os.fdatasync(descriptor)\n", "                pass\n"),),
        (
            "test_running.py::test_a_mark_is_synced_and_where_its_file_is_new_the_folder_too",
            _POWER_LOSS_RUNNING,
        ),
    ),
    Mutation(
        ONCE,
        "the name of a mark's file isn't synced before the script starts",
        "running.py",
        (
            ("                os.fsync(descriptor)\n", "                pass\n"),
            ("                durable.sync_folder(self._processing)\n", ""),
        ),
        ("test_running.py::test_a_mark_is_synced_and_where_its_file_is_new_the_folder_too",),
    ),
    Mutation(
        ONCE,
        "of two marks of one file any counts",
        "running.py",
        (
            (
                "dict(sorted(found, key=lambda one: one[1].at))",
                "dict(sorted(found, key=lambda one: one[1].at)[::-1])",
            ),
        ),
        ("test_recovery.py::test_of_two_marks_of_one_file_the_later_counts",),
    ),
    Mutation(
        ONCE,
        "a mark stays where nothing could be run",
        "running.py",
        (("            seat.remove()\n            self._free", "            self._free"),),
        ("test_running.py::test_where_nothing_could_be_run_no_mark_is_left",),
    ),
    Mutation(
        ONCE,
        "where no further file can be made, a script is run and can't be counted",
        "room.py",
        (("return has_inodes and ", "return "),),
        ("test_room.py::test_where_no_further_file_can_be_made_there_is_no_ample_room",),
    ),
    Mutation(
        ONCE,
        "a notification whose claim a power cut undid isn't counted",
        "recovery.py",
        (("    _settle_marked(spool, found)\n", ""),),
        (
            "test_recovery.py::test_after_a_crash_a_notification_is_in_one_state_its_attempt_counted_and_nothing_is_left",
            _POWER_LOSS_RUNNING,
        ),
    ),
    Mutation(
        ONCE,
        "a script runs for what isn't on the disk yet",
        "claiming.py",
        (("        if state is State.INCOMING:\n", "        if False:\n"),),
        (
            f"{_POWER_LOSS_SLOW}[run-ext4]",
            f"{_POWER_LOSS_SLOW}[run-xfs]",
            f"{_MOVES}[without a log-claim-incoming]",
        ),
    ),
    Mutation(
        ORDER,
        "what couldn't be synced before it is claimed is passed over",
        "claiming.py",
        (("                failed = error\n", "                raise\n"),),
        (
            "test_faults.py::test_a_processor_whose_disk_refuses_loses_nothing_and_goes_on_by_itself"
            "[fsync:error=EIO-held up]",
        ),
    ),
    Mutation(
        ONCE,
        "what came right after the sync of its folder began is taken to be on the disk",
        "arrived.py",
        (("renamed < self._synced_to", "renamed <= self._synced_to"),),
        ("test_arrived.py::test_what_the_last_change_may_have_brought_is_synced_again",),
    ),
    Mutation(
        ONCE,
        "after the clock was set back what arrives is taken to be on the disk",
        "arrived.py",
        ((" < self._synced_to <= changed", " < self._synced_to"),),
        ("test_arrived.py::test_after_the_clock_was_set_back_times_say_nothing",),
    ),
    Mutation(
        ONCE,
        "a mark is cleared before what its last script did is on the disk",
        "attempt.py",
        (("        measures.SCRIPT_SECONDS", "        hand.seat.clear()\n        measures.SCRIPT_SECONDS"),),
        (_LAST_TOGETHER,),
    ),
    Mutation(
        ONCE,
        "the mark of what was moved and couldn't be synced is cleared, or another's comes in its place",
        "turn.py",
        (("                seat.keep()\n            self", "                pass\n            self"),),
        ("test_turn.py::test_what_was_moved_and_could_not_be_synced_is_where_it_is_and_counts_as_that",),
    ),
    Mutation(
        ONCE,
        "the mark of what could not even be put back is cleared",
        "turn.py",
        (("            seat.keep()\n            return", "            return"),),
        ("test_turn.py::test_the_mark_of_what_could_not_even_be_put_back_stands_until_it_is",),
    ),
    Mutation(
        ONCE,
        "a note that no mark vouches for gets onto the disk after its file has moved",
        "turn.py",
        (
            (
                "self._moved(seat, self.spool.finish, name)",
                f"self._moved(seat, lambda name: {_SYNCED_LATER}(self.spool.finish_marked(name)), name)",
            ),
        ),
        (_NOTED_BEFORE, f"{_POWER_LOSS_SLOW}[run-ext4]"),
    ),
    Mutation(
        TRUE,
        "why a notification was given up gets onto the disk after it has moved",
        "claiming.py",
        (
            (
                'self._move("give_up", State.PROCESSING, file_name)',
                f'{_SYNCED_LATER}(self._moved("give_up", State.PROCESSING, file_name, is_marked=True))',
            ),
        ),
        (f"{_NOTED_BEFORE}[given up]", f"{_NOTED_BEFORE}[no JSON]", f"{_POWER_LOSS_SLOW}[run-ext4]"),
    ),
    Mutation(
        ONCE,
        "that a pause has put a notification back gets onto the disk after it has moved",
        "claiming.py",
        (
            (
                'self._move("release", State.PROCESSING, file_name)',
                f'{_SYNCED_LATER}(self._moved("release", State.PROCESSING, file_name, is_marked=True))',
            ),
        ),
        (f"{_NOTED_BEFORE}[paused between two scripts]", f"{_POWER_LOSS_SLOW}[run-ext4]"),
    ),
    Mutation(
        ONCE,
        "a log is synced after its file has moved, whatever the move",
        "spool.py",
        (
            ("if is_log_due and not is_marked:", "if False:"),
            ("if is_log_due and is_marked:", "if is_log_due:"),
        ),
        (_NOTED_BEFORE, _MOVES, f"{_POWER_LOSS_SLOW}[run-ext4]"),
    ),
    Mutation(
        ONCE,
        "what is yet to get onto the disk is told to be done",
        "turn.py",
        (
            (
                "        self.finished.add(moved.name)\n        return",
                "        then()\n        self.finished.add(moved.name)\n        return",
            ),
        ),
        (
            "test_turn.py::"
            "test_a_notification_is_told_to_be_done_and_its_mark_cleared_when_that_is_on_the_disk",
        ),
    ),
    Mutation(
        ORDER,
        "a script begins for a contact whose older one a power cut may put back",
        "processor.py",
        (("elif self._commit.wait_for(lanes) and", "elif False and"),),
        (
            "test_processor.py::"
            "test_no_script_begins_for_a_contact_or_out_of_turn_before_its_older_one_is_on_the_disk",
        ),
    ),
    Mutation(
        ONCE,
        "one that may have ended the processor takes others with it that are done",
        "processor.py",
        (("                self._commit.wait_for_all()\n", "                pass\n"),),
        (
            "test_processor.py::"
            "test_one_that_may_have_ended_the_processor_waits_until_the_others_are_on_the_disk",
        ),
    ),
    Mutation(
        ORDER,
        "an older one that comes back while the disk is waited for is overtaken",
        "processor.py",
        (("wait_for(lanes) and state is State.INCOMING:", "wait_for(lanes) and False:"),),
        ("test_processor.py::test_an_older_one_that_comes_back_while_the_disk_is_waited_for_goes_first",),
    ),
    Mutation(
        ONCE,
        "a log that couldn't be begun to be written out counts as synced",
        "spool.py",
        (("                one.error = error  # it stays", "                pass  # it stays"),),
        (
            "test_group_commit.py::"
            "test_the_logs_of_a_group_are_all_begun_to_be_written_out_before_the_first_is_waited_for",
        ),
    ),
    Mutation(
        ONCE,
        "a defect that not even the log can be told of has workers wait for ever",
        "group_commit.py",
        (("with suppress(Exception):", "with suppress():"),),
        ("test_group_commit.py::test_a_defect_that_not_even_the_log_can_be_told_of_holds_up_nobody",),
    ),
    Mutation(
        ONCE,
        "an orderly end takes the mark away of what may not be on the disk",
        "running.py",
        (("            if seat.is_kept or seat.is_lent:\n", "            if False:\n"),),
        ("test_running.py::test_at_an_orderly_end_the_mark_of_what_may_not_be_on_the_disk_stays",),
    ),
    Mutation(
        ONCE,
        "a power cut has several given up that are done",
        "processor.py",
        (("                    self._commit.wait_for(lanes)\n", "                    pass\n"),),
        ("test_processor.py::test_what_has_no_further_attempt_is_on_the_disk_before_its_worker_goes_on",),
    ),
    Mutation(
        ONCE,
        "of two files of one name a mark tells of whichever",
        "processor.py",
        (('(*waiting.take(name), f"file {name}")', "waiting.take(name)"),),
        ("test_processor.py::test_another_file_of_the_same_name_waits_until_the_first_is_on_the_disk",),
    ),
    Mutation(
        ONCE,
        "on a stop what is done doesn't get onto the disk",
        "processor.py",
        (("            self._commit.close()\n", ""),),
        ("test_processor.py::test_on_a_stop_what_is_done_gets_onto_the_disk",),
    ),
    Mutation(
        ORDER,
        "what is under way to the disk is waited for whatever its lanes, or never",
        "group_commit.py",
        (("all(lanes.isdisjoint(one.lanes) for one", "any(lanes.isdisjoint(one.lanes) for one"),),
        (
            "test_group_commit.py::"
            "test_what_shares_a_lane_is_waited_for_till_it_is_on_the_disk_and_nothing_else_is",
        ),
    ),
    Mutation(
        ONCE,
        "a disk that hangs is given ever more",
        "group_commit.py",
        (("len(self._under_way) < 2 * self._together", "True"),),
        ("test_group_commit.py::test_a_disk_that_hangs_is_not_given_ever_more",),
    ),
    Mutation(
        ONCE,
        "what is done gets onto the disk when more come",
        "group_commit.py",
        (
            (
                "self._wanted.wait_for(self._is_due, self._linger_seconds)",
                "self._wanted.wait_for(self._is_due)",
            ),
        ),
        ("test_group_commit.py::test_what_was_moved_is_synced_soon_the_log_before_the_folder_and_told_then",),
    ),
    Mutation(
        ONCE,
        "what was moved and couldn't be synced is forgotten",
        "turn.py",
        (("            return error.name\n", "            raise\n"),),
        ("test_turn.py::test_what_was_moved_without_a_run_and_could_not_be_synced_counts_too",),
    ),
    Mutation(
        ORDER,
        "where nobody can tell whether one is still in processing/, it is taken for gone",
        "turn.py",
        (
            (
                "        except OSError:\n            return True\n\n    def _progress",
                "        except OSError:\n            raise\n\n    def _progress",
            ),
        ),
        (
            "test_faults.py::"
            "test_what_is_in_hand_while_nobody_can_tell_where_it_is_is_not_overtaken_and_goes_on_by_itself",
        ),
    ),
    Mutation(
        TRUE,
        "what a power cut took of the log of one that had just been finished is told nowhere",
        "recovery.py",
        (("            _finish_for_good(spool, name, mark)\n", "            pass\n"),),
        (_FINISHED_FOR_GOOD,),
    ),
    Mutation(
        TRUE,
        "an older file of its name is taken for one that had just been finished",
        "recovery.py",
        (("if path.lstat().st_ctime >= marked.timestamp() - _STAMPS_LAG_SECONDS:", "if True:"),),
        (_FINISHED_FOR_GOOD,),
    ),
    Mutation(
        TRUE,
        "one that had just been finished is taken for an older file, as its stamp lags behind the clock",
        "recovery.py",
        ((" - _STAMPS_LAG_SECONDS", ""),),
        (_FINISHED_FOR_GOOD,),
    ),
    Mutation(
        TRUE,
        "each start that finds a mark says again that a line was lost",
        "recovery.py",
        (("history.note(marked, ", "history.note(spool.clock.now(), "),),
        (_FINISHED_FOR_GOOD,),
    ),
    Mutation(
        ONCE,
        "a mark that a power cut brought back counts once more",
        "recovery.py",
        (('    return any(line.get("at") == mark.at for line in lines)\n', "    return False\n"),),
        (
            "test_recovery.py::test_after_a_crash_a_notification_is_in_one_state_its_attempt_counted_and_nothing_is_left",
        ),
    ),
    Mutation(
        CLEAR,
        "a command stops half way where nothing takes what it says",
        "cli/telling.py",
        (("    except OSError as error:", "    except KeyError as error:"),),
        ("test_reader_gone.py::test_on_a_full_disk_all_is_done_though_nothing_can_be_said_of_it",),
    ),
    Mutation(
        CLEAR,
        "on the narrowest of terminals numbers are left out",
        "cli/overview.py",
        (("            console.width = max(console.width, _wide(block, console))\n", ""),),
        ("test_cli_status.py::test_no_number_and_no_heading_is_broken_however_narrow_the_terminal[30]",),
    ),
    Mutation(
        CLEAR,
        "of what can't be read `retry --all` says that nothing is there",
        "cli/retry.py",
        (("if unreadable.status is Exit.OK:", "if True:"),),
        ("test_cli_retry.py::test_of_a_folder_that_cannot_be_read_it_is_not_said_that_nothing_is_there",),
    ),
    Mutation(
        CLEAR,
        "a script for a program that isn't installed is said to run, where `env` looks for it",
        "start_failure.py",
        (("or shutil.which(program):", "or True:"),),
        ("test_check.py::test_a_script_whose_program_env_does_not_find_is_told",),
    ),
    Mutation(
        CLEAR,
        "an ext4 without a journal counts as one that power cuts were tried on",
        "file_system.py",
        (('any(option.startswith("data=") for option in options)', "True"),),
        (
            "test_file_system.py::"
            "test_what_power_cuts_were_tried_on_is_not_doubted_and_an_ext4_without_a_journal_is"
            "[ext4 without a journal]",
        ),
    ),
    Mutation(
        CLEAR,
        "a file system that doesn't have the disk write out what is synced isn't told of",
        "file_system.py",
        (('"nobarrier" not in options', "True"),),
        ("test_file_system.py::test_one_that_leaves_what_was_synced_in_the_disks_own_memory_is_doubted",),
    ),
    Mutation(
        KEPT,
        "the end of a processor that couldn't begin hides why",
        "group_commit.py",
        (("        if self._thread.is_alive():  # it", "        if True:  # it"),),
        ("test_group_commit.py::test_one_that_was_never_started_ends_at_once",),
    ),
    Mutation(
        KEPT,
        "what is too large for anybody to read is confirmed",
        "config.py",
        (("<= file.receiver.max_body <= MOST_BODY_BYTES", "<= file.receiver.max_body"),),
        ("test_config.py::test_a_mistake_is_told_with_line_key_and_remedy",),
    ),
    Mutation(
        BOUNDED,
        "a log of any size is read into memory",
        "history.py",
        (("    if size > _MOST_BYTES:\n", "    if False:\n"),),
        ("test_history.py::test_a_log_that_would_fill_the_memory_is_an_error",),
    ),
    Mutation(
        PROMPT,
        "what a start puts right puts the next look off, as if the folder were large",
        "webhook_queue.py",
        (
            (
                "        began: float | None = None\n",
                "        began: float | None = self._clock.monotonic()\n",
            ),
            (
                "            began = self._clock.monotonic()\n            self._intake",
                "            self._intake",
            ),
        ),
        ("test_processor.py::test_what_is_put_right_at_the_start_puts_no_look_off",),
    ),
    Mutation(
        CLEAR,
        "what has to stay in processing/ is told of at each look",
        "webhook_queue.py",
        (("._replace(told=True)", "._replace(told=False)"), (", told=True)\n", ")\n")),
        ("test_processor.py::test_one_that_has_to_stay_in_processing_is_told_of_once",),
    ),
    Mutation(
        TRUE,
        "a pipe in the place of a log is waited for",
        "durable.py",
        (
            (
                "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
                "os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC",
            ),
        ),
        ("test_turn.py::test_a_log_in_whose_place_a_script_puts_something_else_holds_nothing_up",),
    ),
    Mutation(
        TRUE,
        "a script is given the working folder of the one before as that has left it",
        "work_folder.py",
        (
            ("        if folder.is_unchanged():\n", "        if True:\n"),
            ("            if folder.is_unchanged() and ", "            if "),
        ),
        ("test_work_folder.py::test_a_working_folder_that_was_changed_is_nobody_elses",),
    ),
    Mutation(
        TRUE,
        "what is left in a working folder within the tick of the clock that it was made in is overlooked",
        "work_folder.py",
        (("            if self.is_settled:\n", "            if True:\n"),),
        ("test_work_folder.py::test_what_was_done_in_the_same_tick_that_the_folder_was_made_in_is_seen",),
    ),
    Mutation(
        TRUE,
        "what is left in a working folder within the second that it was made in is overlooked, where times are whole",
        "work_folder.py",
        (("_APART_SECONDS = 2.1\n", "_APART_SECONDS = 0.1\n"),),
        ("test_work_folder.py::test_what_was_done_in_the_same_second_is_seen_where_times_are_whole_seconds",),
    ),
    Mutation(
        ONCE,
        "what came of a run isn't synced before the next script starts",
        "attempt.py",
        (("hand.file_name, line, sync=not is_settled)", "hand.file_name, line)"),),
        (_POWER_LOSS_RUNNING,),
    ),
    Mutation(
        KEPT,
        "a rename may replace a file",
        "durable.py",
        (("        _RENAME_NOREPLACE,\n", "        0,\n"),),
        (
            "test_durable.py::test_a_rename_never_replaces_a_file",
            "test_claiming.py::test_a_move_never_replaces_a_file",
        ),
    ),
    Mutation(
        KEPT,
        "what was cut short is not taken up again at the start",
        "recovery.py",
        (("    for name in spool.listing(State.PROCESSING).names:\n", "    for name in ():\n"),),
        (
            "test_recovery.py::test_after_a_crash_a_notification_is_in_one_state_its_attempt_counted_and_nothing_is_left",
            f"{_KILLED}[recovery]",
        ),
    ),
    Mutation(
        KEPT,
        "an interrupted attempt isn't counted",
        "recovery.py",
        (("        _count_interrupted(spool, name)\n        return\n", "        return\n"),),
        (
            "test_poison.py::test_it_ends_in_failed_after_its_attempts_and_the_others_are_processed",
            f"{_KILLED}[recovery]",
        ),
    ),
    Mutation(
        AUTHENTIC,
        "any signature is good",
        "admission.py",
        (
            (
                "    return signature.verify(body, given, keys, webhook.algorithm).fingerprint\n",
                "    return keys[0].fingerprint\n",
            ),
        ),
        ("test_admission.py", "test_receiver.py"),
    ),
    Mutation(
        AUTHENTIC,
        "a worker that is started again goes back to the keys of the service's start",
        "service.py",
        (("        receiver.read_keys(again=again, quietly=True)\n", "        pass\n"),),
        ("test_service.py::test_a_worker_that_is_started_again_goes_on_with_the_last_good_key",),
    ),
    Mutation(
        CLEAR,
        "a connection that systemd has accepted is taken for a listening socket",
        "listening.py",
        (("    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):\n", "    if False:\n"),),
        ("test_listening.py::test_a_socket_that_nobody_can_be_accepted_on_is_a_mistake[a connection]",),
    ),
    Mutation(
        PROMPT,
        "a pipe in a key file's place is waited for",
        "keys.py",
        (("flags | os.O_NONBLOCK)", "flags)"),),
        ("test_keyring.py::test_a_pipe_in_the_place_of_a_file_is_not_waited_for",),
    ),
    Mutation(
        AUTHENTIC,
        "the parent keeps up with the keys only when it is told to",
        "supervisor.py",
        (("                self._keep_up(False)\n", ""),),
        ("test_supervisor.py::test_the_parent_keeps_up_at_each_look_and_before_reload_is_handed_on",),
    ),
    Mutation(
        AUTHENTIC,
        "client certificates aren't asked for",
        "admission.py",
        (("    if webhook.client_certificates:\n", "    if False:\n"),),
        ("test_admission.py",),
    ),
    Mutation(
        ORDER,
        "a younger one of a contact may go first",
        "backlog.py",
        ((" and all(self._head(lane) == name for lane in lanes)\n", "\n"),),
        (
            "test_backlog.py::test_a_retry_is_never_overtaken_by_a_younger_notification_of_its_lane",
            "test_any_order.py",
        ),
    ),
    Mutation(
        ORDER,
        "two of one contact may run at once",
        "backlog.py",
        (("        return self._busy.isdisjoint(lanes) and all(", "        return all("),),
        ("test_backlog.py",),
    ),
    Mutation(
        ORDER,
        "receivers name without waiting for each other",
        "storing.py",
        (
            (
                "        self._naming.take(folder, self.clock, _first_deadline(arrivals, self.clock.monotonic()))\n",
                "",
            ),
        ),
        (
            "test_storing.py::test_names_from_many_threads_and_processes_are_unique_and_sorted_as_they_became_visible",
        ),
    ),
    Mutation(
        PROMPT,
        "a folder's lock is waited for longer than the sender waits",
        "folder_lock.py",
        (
            (
                "        try:\n            return _try_until(folder, clock, until)\n",
                "        try:\n            return _try_until(folder, clock, until + 2)\n",
            ),
        ),
        (
            "test_folder_lock.py::test_it_is_waited_for_until_the_moment_that_was_given",
            "test_storing.py::test_a_deadline_that_passes_while_others_store_counts_too",
        ),
    ),
    Mutation(
        PROMPT,
        "all threads wait to the end for a folder's lock",
        "folder_lock.py",
        (("        if not self._patient.acquire(blocking=False):\n", "        if False:\n"),),
        ("test_folder_lock.py::test_of_many_that_come_together_only_a_few_wait_to_the_end",),
    ),
    Mutation(
        PROMPT,
        "after others waited in vain for a folder's lock everybody waits as long",
        "folder_lock.py",
        (("        if self._in_vain:\n", "        if False:\n"),),
        ("test_folder_lock.py::test_after_one_has_waited_in_vain_nobody_waits_until_somebody_gets_it",),
    ),
    Mutation(
        ONCE,
        "repeats run again",
        "turn.py",
        (("            if original is not None:\n", "            if False:\n"),),
        ("test_turn.py::test_a_repeat_is_done_without_a_script_and_names_what_it_repeats",),
    ),
    Mutation(
        ONCE,
        "scripts that answered 0 run again",
        "turn.py",
        (("if (script.name, script.version) not in progress.answered]", "]"),),
        ("test_turn.py::test_on_a_further_attempt_those_that_answered_0_are_not_run_again",),
    ),
    Mutation(
        ONCE,
        "two processors may work on one spool",
        "lock.py",
        (
            (
                "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
                "            pass\n",
            ),
        ),
        ("test_processor.py::test_a_second_processor_on_the_spool_ends_at_once_with_a_clear_message",),
    ),
    Mutation(
        ONCE,
        "scripts that outlived a crash go on beside the next attempt",
        "recovery.py",
        (("        _end_survivors(spool, name)\n", ""),),
        ("test_recovery.py::test_a_script_that_outlived_the_processor_is_ended_before_the_next_attempt",),
    ),
    Mutation(
        TRUE,
        "a log line is written without looking whether the last one is torn",
        "history.py",
        (('            content = b"\\n" + content\n', "            pass\n"),),
        ("test_history.py", "test_recovery.py::test_a_torn_log_is_no_obstacle"),
    ),
    Mutation(
        BOUNDED,
        "rejected/ grows without end",
        "rejected.py",
        (("                self._make_room(size)\n", ""),),
        ("test_rejected.py",),
    ),
    Mutation(
        TRUE,
        "a refused request whose line can't be written stays in rejected/, where nothing can judge it",
        "storing.py",
        (
            (
                "                history.append(rejected / log_name(name), [line])\n",
                "",
            ),
            (
                "source_folder=folder, target_folder=folder)\n            except OSError:\n",
                "source_folder=folder, target_folder=folder)\n"
                "                history.append(rejected / log_name(name), [line])\n            except OSError:\n",
            ),
        ),
        ("test_storing.py::test_a_refused_request_whose_line_finds_no_room_leaves_nothing",),
    ),
    Mutation(
        BOUNDED,
        "one entry of rejected/ that can't be removed lets it grow without end",
        "rejected.py",
        (("                obstacle = error\n                continue\n", "                raise\n"),),
        ("test_rejected.py::test_one_that_cannot_be_removed_makes_the_next_one_go",),
    ),
    Mutation(
        BOUNDED,
        "requests are kept in rejected/ though there is no room",
        "rejected.py",
        (("        if requests > _REQUESTS_LEFT or total > _BYTES_LEFT:\n", "        if False:\n"),),
        ("test_rejected.py::test_where_no_room_can_be_made_nothing_is_kept",),
    ),
    Mutation(
        BOUNDED,
        "a folder in rejected/ is taken for a request that can be removed",
        "rejected.py",
        (
            ("                if entry.is_file(follow_symlinks=False):\n", "                if True:\n"),
            ("                obstacle = error\n                continue\n", "                raise\n"),
        ),
        ("test_rejected.py::test_a_folder_that_looks_like_the_oldest_request_keeps_no_room_from_being_made",),
    ),
    Mutation(
        BOUNDED,
        "any length of a body is read",
        "endpoint.py",
        (("        if length > self._settings.max_body:\n", "        if False:\n"),),
        ("test_receiver.py",),
    ),
    Mutation(
        ONCE,
        "repeats of slow and lost answers run again, in a week of the sender",
        "turn.py",
        (("            if original is not None:\n", "            if False:\n"),),
        ("test_sender_week.py::test_slow_and_lost_answers_are_repeats_that_run_nothing",),
    ),
    Mutation(
        ORDER,
        "a contact's notifications share no lane, in a burst with repeats and retries",
        "intake.py",
        (("        if self._by_contact and notification.order_key is not None:\n", "        if False:\n"),),
        (
            "test_sender_week.py::"
            "test_a_burst_keeps_each_contacts_order_though_some_are_repeated_and_some_retried",
        ),
    ),
    Mutation(
        DURABLE,
        "what took longer than the sender waits is stored all the same",
        "endpoint.py",
        ((", deadline=deadline)\n", ")\n"),),
        ("test_sender_week.py::test_slow_and_lost_answers_are_repeats_that_run_nothing",),
    ),
    Mutation(
        RULES,
        "many errors switch off, however short the time",
        "delivery.py",
        ((" and lasted_seconds >= DEACTIVATION_SECONDS", ""),),
        ("test_sender_week.py::test_how_long_it_takes_to_be_switched_off_depends_on_the_traffic[600.0]",),
    ),
    Mutation(
        RULES,
        "a notification is abandoned an attempt too early",
        "delivery.py",
        (("    if attempt >= MAX_ATTEMPTS:\n", "    if attempt >= MAX_ATTEMPTS - 1:\n"),),
        ("test_sender_week.py::test_an_outage_that_is_over_before_the_last_attempt_loses_nothing",),
    ),
    Mutation(
        HARMLESS,
        "a type stands in the file's name as it was sent",
        "notification.py",
        (('_NOT_IN_TYPE.sub("-", written)[:_TYPE_LENGTH]', "written[:_TYPE_LENGTH]"),),
        (
            "test_hostile_notifications.py::"
            "test_a_signed_body_of_any_content_goes_its_way_and_nothing_else_is_touched",
        ),
    ),
    Mutation(
        HARMLESS,
        "commands and logs print what names and bodies hold",
        "printable.py",
        (("    if text.isprintable():\n", "    if True:\n"),),
        (
            "test_hostile_notifications.py::"
            "test_a_file_of_any_name_that_a_person_put_there_goes_its_way_whatever_its_log_holds",
        ),
    ),
    Mutation(
        HARMLESS,
        "an error is printed as it was typed",
        "cli/__init__.py",
        (("{printable(' '.join(line.split()))}", "{line}"),),
        ("test_hostile_files.py::test_any_configuration_is_understood_or_refused_in_one_line",),
    ),
    Mutation(
        CLEAR,
        "metrics say nothing of folders that they can't read",
        "cli/metrics.py",
        (("return Exit.FAILED if metrics.unread else Exit.OK", "return Exit.OK"),),
        ("test_metrics.py::test_what_could_not_be_read_is_told_beside_the_numbers_and_ends_with_1",),
    ),
    Mutation(
        CLEAR,
        "check calls a script right that can never be started",
        "check.py",
        (("if failure := start_failure.foresee(path):", 'if failure := "":'),),
        ("test_check.py::test_a_script_that_can_never_be_started_is_wrong",),
    ),
    Mutation(
        CLEAR,
        "a standard input that is closed is read all the same",
        "cli/__init__.py",
        (("if sys.stdin is None:", "if False:"),),
        ("test_cli.py::test_where_standard_input_is_closed_nothing_is_read_and_nobody_is_asked",),
    ),
    Mutation(
        AUTHENTIC,
        "anybody may tell of a client certificate",
        "proxy.py",
        (
            (
                "    if (address := _address(environ)) != _plain(trusted_proxy):\n        who",
                "    if (address := ''):\n        who",
            ),
        ),
        (
            "test_proxy.py::test_nobody_but_the_trusted_proxy_is_believed",
            "test_receiver.py::test_a_certificate_that_somebody_else_than_the_proxy_tells_of_is_forged",
        ),
    ),
    Mutation(
        HARMLESS,
        "the zone of a forwarded address is kept",
        "proxy.py",
        (('str(found).partition("%")[0]', "str(found)"),),
        ("test_hostile_requests.py::test_headers_of_a_proxy_give_a_fingerprint_or_none",),
    ),
    Mutation(
        HARMLESS,
        "a mail tells what names and logs hold as it stands there",
        "alert_texts.py",
        (("    escaped = _NOT_PLAIN.sub(", "    return text\n    escaped = _NOT_PLAIN.sub("),),
        ("test_hostile_requests.py::test_a_mail_is_one_mail_with_its_own_headers_whatever_it_tells",),
    ),
    Mutation(
        PROMPT,
        "a signal's handler runs inside the event loop of the load",
        "load.py",
        (("            return pool.submit(work).result()\n", "            return work()\n"),),
        ("test_load.py::test_a_signal_ends_it_by_what_its_handler_raises_and_never_inside_the_event_loop",),
    ),
    Mutation(
        CLEAR,
        "nobody is told of a disk that can't be written",
        "alert_facts.py",
        (("            self._unwritable = self._trial()\n", "            pass\n"),),
        ("test_alerter.py::test_a_disk_that_became_read_only_is_told_and_its_end_too",),
    ),
    Mutation(
        CLEAR,
        "a mail that is put off is tried first again",
        "alerter.py",
        (("                self.memory.due[about] = self.memory.due.pop(about)\n", ""),),
        ("test_alerter.py::test_a_mail_that_the_server_takes_later_holds_up_no_other",),
    ),
    Mutation(
        CLEAR,
        "what alerts couldn't note is taken for noted",
        "alerter.py",
        (
            (
                '            keepsake.write(self._path, self.memory, sync=True)\n            self._saved, self._told = content, ""\n',
                '            self._saved, self._told = content, ""\n            keepsake.write(self._path, self.memory, sync=True)\n',
            ),
        ),
        ("test_alerter.py::test_what_a_full_disk_kept_from_being_noted_is_noted_when_there_is_room",),
    ),
    Mutation(
        CLEAR,
        "a mail server's refusal of the connection is talked past",
        "mail.py",
        (("        if code != _READY:", "        if False:"),),
        ("test_mail.py::test_a_server_that_takes_nothing_from_here_says_why_in_its_greeting",),
    ),
    Mutation(
        PROMPT,
        "a lock that somebody keeps on one webhook's folder holds up the others' scripts",
        "folders.py",
        (("self.clock.monotonic() + patience_seconds)", "self.clock.monotonic() + 600)"),),
        (
            "test_folder_lock.py::"
            "test_whoever_locks_one_webhooks_folder_holds_up_no_other_webhooks_scripts[incoming]",
        ),
    ),
    Mutation(
        TRUE,
        "a stamp that is yet to come is taken for the last that was received",
        "inventory.py",
        (
            (
                "    tallies = {state: _Tally(now - _LATELY, until=now) for state in State}",
                "    tallies = {state: _Tally(now - _LATELY) for state in State}",
            ),
        ),
        ("test_inventory.py::test_a_stamp_that_is_yet_to_come_does_not_hide_what_came_last",),
    ),
    Mutation(
        CLEAR,
        "a NUL in the configuration is taken for text",
        "config.py",
        (("        _refuse_nul(document, place, ())\n", ""),),
        ("test_hostile_files.py::test_any_configuration_is_understood_or_refused_in_one_line",),
    ),
    Mutation(
        CLEAR,
        "an ID that can be no file's name is looked for on the disk",
        "selection.py",
        (('    if "\\0" in text or len(os.fsencode(file_name)) > _NAME_BYTES:\n', "    if False:\n"),),
        (
            "test_hostile_commands.py::test_ids_that_are_piped_may_be_any_bytes_and_the_right_one_among_them_counts",
        ),
    ),
    Mutation(
        KEPT,
        "any number that a log holds is an attempt",
        "history.py",
        (("type(attempt) is int and 1 <= attempt <= _MOST_ATTEMPTS", "isinstance(attempt, int)"),),
        ("test_hostile_files.py::test_whatever_a_log_holds_a_number_of_the_attempt_and_json_come_of_it",),
    ),
    Mutation(
        BOUNDED,
        "bodies on their way in are kept, however many",
        "crowd.py",
        (("        self._make_room(coming, room)\n", "        pass\n"),),
        (
            "test_crowd.py::test_bodies_that_dont_end_are_given_up_when_they_are_too_much_and_honest_ones_are_not",
        ),
    ),
    Mutation(
        KEPT,
        "a signal in the middle of another finds a lock taken",
        "processor.py",
        (
            (
                "        self._wake = Wake()\n",
                "        import threading\n        self._wake = threading.Event()\n",
            ),
        ),
        ("test_processor.py::test_signals_that_come_in_the_midst_of_one_another_end_it_all_the_same",),
    ),
    Mutation(
        KEPT,
        "who isn't read is closed for being silent",
        "crowd.py",
        (("                channel.last_activity = time.time()\n", "                pass\n"),),
        ("test_crowd.py::test_who_isnt_read_is_not_closed_for_being_silent",),
    ),
    Mutation(
        KEPT,
        "who isn't read to the end in time is cut without an answer",
        "connection.py",
        (
            (
                "        if self.is_held_back or not self._may_read():  # it is we who are slow\n",
                "        if False:\n",
            ),
        ),
        ("test_crowd.py::test_a_body_that_isnt_read_to_its_end_in_time_is_503_and_not_too_slow",),
    ),
    Mutation(
        BOUNDED,
        "who has room and doesn't use it keeps it",
        "crowd.py",
        ((" if one.is_slow(now, patience)]", " if False]"),),
        (
            "test_crowd.py::test_who_reserves_room_and_sends_nothing_keeps_a_large_body_waiting_for_a_moment_only",
        ),
    ),
    Mutation(
        KEPT,
        "while all threads wait for the disk, nobody accepts, and the time of who waits doesn't run",
        "server.py",
        (("                self._accept_here()\n", "                pass\n"),),
        ("test_server.py::test_while_all_acceptors_wait_for_the_disk_others_accept_and_the_end_waits_too",),
    ),
    Mutation(
        KEPT,
        "a stop breaks off what acceptors are storing",
        "server.py",
        (("            if not (waited_for or self._acceptors.busy):\n", "            if not waited_for:\n"),),
        ("test_server.py::test_what_has_begun_is_answered_and_then_nobody_listens",),
    ),
    Mutation(
        TRUE,
        "a request that stands still is cut by waitress, in no log and no count",
        "server.py",
        (
            (
                "            channel_timeout=_NEVER_SECONDS,\n",
                "            channel_timeout=int(request_within_seconds),\n            cleanup_interval=0,\n",
            ),
        ),
        ("test_server.py::test_each_request_that_stands_still_is_told_of_whenever_it_began",),
    ),
    Mutation(
        BOUNDED,
        "a connection on which nothing begins is kept for ever",
        "connection.py",
        (
            (
                "            self.will_close |= time.time() - self.last_activity > limit_seconds\n",
                "            pass\n",
            ),
        ),
        ("test_server.py::test_a_request_that_drips_in_is_cut_and_honest_ones_are_answered_meanwhile",),
    ),
    Mutation(
        KEPT,
        "of large bodies so much is read at once that there is no room for their turns",
        "accepted.py",
        ((" or len(self.received) + request.bytes_to_come > _LARGE_BYTES:\n", ":\n"),),
        ("test_crowd.py::test_of_a_large_body_no_more_is_read_than_of_any_other_before_it_is_its_turn",),
    ),
    Mutation(
        KEPT,
        "a socket that many come in by keeps all from the others",
        "acceptors.py",
        (
            (
                "                    if server and not self._stopping:\n",
                "                    while server and not self._stopping:\n",
            ),
            (
                "                break  # another thread was",
                "                if not taken:\n                    raise\n                break  # another thread was",
            ),
            (
                "                        except Exception:  # noqa: BLE001 - the outermost frame",
                "                        except OSError:\n                            break\n"
                "                        except Exception:  # noqa: BLE001 - the outermost frame",
            ),
        ),
        ("test_server.py::test_a_socket_that_many_come_in_by_leaves_another_its_turn",),
    ),
    Mutation(
        KEPT,
        "a connection that is gone ends the process, and what it is storing",
        "server.py",
        (("                channel.handle_error()\n", "                raise\n"),),
        ("test_faults.py::test_a_connection_whose_answer_cannot_be_sent_takes_no_other_with_it",),
    ),
    Mutation(
        BOUNDED,
        "who goes on steadily counts as standing still",
        "connection.py",
        (("        if come - self._step_bytes >= step or", "        if"),),
        ("test_crowd.py::test_who_stands_still_makes_room_before_those_who_go_on_steadily",),
    ),
    Mutation(
        BOUNDED,
        "what is no valid request keeps its header until it is answered",
        "http_requests.py",
        (("        self.header_bytes_received = 0\n", ""),),
        ("test_crowd.py::test_what_is_no_valid_request_takes_no_room_while_it_waits_for_its_answer",),
    ),
    Mutation(
        BOUNDED,
        "who came before a flood waits for its end",
        "crowd.py",
        (
            (
                "            yield waiting.pop() if self._is_the_latest_next else waiting.popleft()\n",
                "            yield waiting.pop()\n",
            ),
        ),
        ("test_crowd.py::test_who_came_before_a_flood_does_not_wait_for_its_end",),
    ),
    Mutation(
        KEPT,
        "who is far away counts as standing still, because TCP begins slowly",
        "connection.py",
        (("step = min(_STEP_BYTES, max(_FIRST_STEP_BYTES, self._step_bytes))", "step = _STEP_BYTES"),),
        ("test_crowd.py::test_many_large_bodies_from_far_away_are_all_taken",),
    ),
    Mutation(
        BOUNDED,
        "who has sent what we haven't read counts as standing still",
        "connection.py",
        (
            (
                "        unread = 0 if self.is_held_back else _unread_bytes(self.socket)\n",
                "        unread = 0\n",
            ),
        ),
        ("test_crowd.py::test_nobody_is_slow_for_what_has_come_and_is_not_read_yet",),
    ),
    Mutation(
        BOUNDED,
        "what is no valid request keeps its body until it is answered",
        "http_requests.py",
        (
            (
                "            self.drop()\n        return consumed\n",
                "            pass\n        return consumed\n",
            ),
        ),
        ("test_crowd.py::test_what_is_no_valid_request_takes_no_room_while_it_waits_for_its_answer",),
    ),
    Mutation(
        BOUNDED,
        "all bodies are read at once, and none gets to its end",
        "crowd.py",
        (("                channel.hold_back()\n", "                pass\n"),),
        ("test_crowd.py::test_many_honest_senders_at_once_take_turns_and_none_is_refused",),
    ),
    Mutation(
        BOUNDED,
        "silent connections keep their places",
        "crowd.py",
        (("        if len(channels) > self._max_connections:\n", "        if False:\n"),),
        ("test_crowd.py::test_silent_connections_make_place_for_new_ones_the_oldest_first",),
    ),
    Mutation(
        BOUNDED,
        "who waits for an answer is closed to make place",
        "crowd.py",
        (("(one for one in channels if one.is_dispensable)", "channels"),),
        ("test_crowd.py::test_who_waits_for_an_answer_is_not_closed_however_many_come",),
    ),
    Mutation(
        BOUNDED,
        "a body may come in crumbs",
        "http_requests.py",
        (("            self._check_chunking(consumed)\n", "            pass\n"),),
        ("test_http_requests.py::test_what_is_no_valid_http_is_400",),
    ),
    Mutation(
        BOUNDED,
        "chunks over the limit go to a temporary file",
        "server.py",
        (("max_body_bytes + _OVER_LIMIT_BYTES,\n", "max_body_bytes + 1,\n"),),
        ("test_server.py::test_chunks_over_the_limit_are_413_where_no_temporary_file_can_be_made",),
    ),
    Mutation(
        KEPT,
        "200 is said before it is stored",
        "endpoint.py",
        (
            (
                "            self.spool.store_all([one.arrival for one in deliveries])\n",
                "            import threading\n            late = [one.arrival for one in deliveries]\n"
                "            threading.Timer(0.2, self.spool.store_all, (late,)).start()\n",
            ),
        ),
        (f"{_KILLED}[store]",),
    ),
    Mutation(
        TRUE,
        "a move copies and removes instead of renaming",
        "spool.py",
        (
            (
                "        name = free_name.rename("
                "self.where(source, file_name), file_name, target_parent=target_folder)\n",
                "        name, path = file_name, self.path(source, file_name)\n"
                "        Path(target_folder, name).write_bytes(path.read_bytes())\n"
                "        path.unlink()\n",
            ),
        ),
        (f"{_KILLED}[a turn that works]", f"{_KILLED}[a turn that works later]"),
    ),
    Mutation(
        ONCE,
        "what a killed processor had started lives on",
        "recovery.py",
        (("        _end_survivors(spool, name)\n", ""), ("    _end_survivors(spool)\n", "")),
        (f"{_KILLED}[recovery]",),
    ),
    Mutation(
        TRUE,
        "a log that lost its file in a crash stays where it is",
        "recovery.py",
        (("in _orphaned_logs(spool):\n", "in ():\n"),),
        (f"{_KILLED}[recovery]",),
    ),
    Mutation(
        BOUNDED,
        "the folders of killed scripts stay",
        "recovery.py",
        (("        running.sweep(spool.folder(State.PROCESSING))\n", "        pass\n"),),
        (f"{_KILLED}[recovery]",),
    ),
    Mutation(
        BOUNDED,
        "what killed starts were trying stays",
        "processor.py",
        (("            spool.sweep_litter(_TRIED)\n", ""),),
        ("test_processor.py::test_what_was_left_of_a_start_that_was_killed_is_swept_after_an_hour",),
    ),
    Mutation(
        ORDER,
        "names go back when the clock does",
        "latest.py",
        (
            (
                "    return now if latest is None or now > latest else latest + MICROSECOND\n",
                "    return now\n",
            ),
        ),
        (
            "test_clock.py::test_after_the_clock_was_set_back_a_younger_name_still_sorts_after_one_that_waits",
            "test_clock.py::test_names_of_several_processes_rise_while_the_clock_is_set_back",
        ),
    ),
    Mutation(
        ORDER,
        "the note of the latest stamp isn't held against the names at the start",
        "storing.py",
        (
            (
                "            if newest is not None and (known is None or newest > known):\n",
                "            if False:\n",
            ),
        ),
        ("test_clock.py::test_what_a_power_cut_took_of_the_latest_stamp_is_found_in_the_names",),
    ),
    Mutation(
        ORDER,
        "names follow the clock back past one that waits",
        "claiming.py",
        ((" or (newest is not None and newest > now)", ""),),
        ("test_clock.py::test_the_spool_itself_does_not_follow_the_clock_back_past_one_that_waits",),
    ),
    Mutation(
        KEPT,
        "a retry waits for as long as the clock was ahead",
        "intake.py",
        (("        if due - now.timestamp() <= self._longest_wait:\n", "        if True:\n"),),
        ("test_clock.py::test_after_the_clock_was_set_back_a_retry_waits_no_longer_than_was_meant",),
    ),
    Mutation(
        ONCE,
        "what was finished at a time to come has no repeats",
        "finished.py",
        ((" or self._clock_was_ahead(path, received)", ""),),
        ("test_clock.py::test_a_repeat_is_known_though_the_clock_was_set_back_since",),
    ),
    Mutation(
        KEPT,
        "who puts back one after another holds up the rest without end",
        "patience.py",
        (("        return now - self._since < self._seconds\n", "        return True\n"),),
        (
            "test_patience.py::test_it_lasts_for_its_seconds_on_end_and_not_for_longer",
            "test_clock.py::test_one_who_puts_back_one_after_another_holds_up_the_rest_for_a_while_only",
        ),
    ),
    Mutation(
        ORDER,
        "who waited in vain once is never waited for again",
        "patience.py",
        (("            self._since = None\n", "            pass\n"),),
        ("test_patience.py::test_it_is_whole_again_as_soon_as_nobody_has_to_be_waited_for",),
    ),
    Mutation(
        KEPT,
        "what keeps coming holds up what lies ahead of the clock without end",
        "intake.py",
        (("        if not self._ahead.lasts(waiting=is_ahead):\n", "        if False:\n"),),
        (
            "test_any_listing.py::"
            "test_what_keeps_coming_does_not_hold_up_for_long_what_lies_ahead_of_the_clock",
        ),
    ),
    Mutation(
        ONCE,
        "what an error kept from being read counts as read",
        "finished.py",
        (("self._days, self._seen_ns = before, _NEVER", "pass"),),
        ("test_finished.py::test_after_an_error_that_cut_the_reading_short_all_of_it_is_read_again",),
    ),
    Mutation(
        PROMPT,
        "what lies behind a nearer limit now still counts as waiting for its turn",
        "backlog.py",
        (("        if gone:  # those", "        if False:  # those"),),
        (
            "test_large_backlog.py::"
            "test_what_is_put_back_before_all_that_is_remembered_does_not_hide_that_more_are_wanted",
        ),
    ),
    Mutation(
        BOUNDED,
        "what lies behind a body in chunks is read as if it belonged to it",
        "connection.py",
        (("self.request.bytes_certain if", "self.request.bytes_to_come if"),),
        ("test_crowd.py::test_what_lies_behind_a_request_is_not_read_by_the_megabyte",),
    ),
    Mutation(
        BOUNDED,
        "small ones are given up though that lets nobody in",
        "crowd.py",
        (("if not reading or one.bytes_taken > _SMALL_BYTES]", "]"),),
        ("test_crowd.py::test_a_small_one_that_pauses_is_not_given_up_where_that_lets_no_large_one_in",),
    ),
    Mutation(
        ORDER,
        "what waits in retry/ overtakes those of a large incoming/ that aren't remembered",
        "backlog.py",
        (("            if self._until and order > self._until:\n", "            if False:\n"),),
        (
            "test_large_backlog.py::"
            "test_a_due_retry_does_not_overtake_an_older_one_of_its_contact_that_lies_far_back",
        ),
    ),
    Mutation(
        ORDER,
        "what lies behind the first of a large incoming/ is passed on though an older one may be missing",
        "intake.py",
        (("min(incoming.complete_to, self._limit or incoming.complete_to)", "incoming.complete_to"),),
        (
            "test_large_backlog.py::"
            "test_of_two_that_are_put_back_far_behind_the_older_goes_first_though_it_was_missed_at_first",
        ),
    ),
    Mutation(
        ORDER,
        "one that lies ahead of the clock vouches for all that comes before it",
        "intake.py",
        (
            (
                "            if name > complete_here and",
                "            if name > max({complete_here, *self._young.intersection(incoming.names)}) and",
            ),
        ),
        (
            "test_any_listing.py::"
            "test_one_that_lies_ahead_of_the_clock_vouches_for_nothing_that_comes_before_it",
            "test_large_backlog.py::test_one_that_is_held_far_behind_vouches_for_nothing_that_lies_before_it",
            *_ANY_LISTING,
        ),
    ),
    Mutation(
        ORDER,
        "what is known is given though an older one isn't sure yet",
        "intake.py",
        (("(limit, *unsure[:1])", "(limit,)"),),
        (
            "test_any_listing.py::"
            "test_a_due_retry_that_lies_ahead_of_the_clock_does_not_overtake_one_that_is_not_sure_yet",
            "test_any_listing.py::"
            "test_one_of_a_foreign_name_and_a_time_to_come_does_not_overtake_one_that_is_not_sure_yet",
            "test_clock.py::test_what_is_put_back_under_names_to_come_keeps_its_order",
            *_ANY_LISTING,
        ),
    ),
    Mutation(
        KEPT,
        "what lies ahead of the clock isn't sure before the clock is there",
        "intake.py",
        (("if name > complete_here and name not in self._young and", "if name > complete_here and"),),
        _ANY_LISTING,
    ),
    Mutation(
        ORDER,
        "what a person moves from retry/ to incoming/ is overtaken where no listing shows it",
        "intake.py",
        ((" or self._is_gone(there, incoming.limit)", ""),),
        tuple(
            "test_any_listing.py::test_what_a_person_moves_between_the_two_folders_meanwhile_is_not_overtaken"
            f"[retry-{after}]"
            for after in ("incoming", "retry")
        ),
    ),
    Mutation(
        ORDER,
        "what a person moves between the two folders before it is read is in nobody's line",
        "intake.py",
        (("        for place in (state, other, state):\n", "        for place in (state,):\n"),),
        (_MOVED_BEFORE_READ,),
    ),
    Mutation(
        ORDER,
        "what a person moves to the other folder and back before it is read is in nobody's line",
        "intake.py",
        (("        for place in (state, other, state):\n", "        for place in (state, other):\n"),),
        (f"{_MOVED_BEFORE_READ}[incoming-2]", f"{_MOVED_BEFORE_READ}[retry-2]"),
    ),
    Mutation(
        ORDER,
        "what was gone when it was read has no line when it comes back",
        "intake.py",
        (("        return None  # it is gone", "        return ()  # it is gone"),),
        ("test_any_listing.py::test_what_is_gone_when_it_is_read_and_comes_back_gets_its_place",),
    ),
    Mutation(
        ORDER,
        "one of a foreign name that is moved while its age is asked for is as young as the question",
        "intake.py",
        (("(State.INCOMING, State.RETRY, State.INCOMING)", "(State.INCOMING, State.RETRY)"),),
        (
            "test_any_listing.py::"
            "test_one_of_a_foreign_name_that_a_person_moves_while_its_age_is_asked_for_keeps_its_place",
        ),
    ),
    Mutation(
        ORDER,
        "what gets a name of a person's own while it waits is overtaken while it stands still",
        "intake.py",
        (("            until = min(until or renamed, renamed)\n", "            pass\n"),),
        ("test_any_listing.py::test_what_gets_a_name_of_a_persons_own_while_it_waits_is_not_overtaken",),
    ),
    Mutation(
        PROMPT,
        "a copy of hours holds up what is younger for as long as a person has patience",
        "intake.py",
        ((" if now - self._seen.get(name, now) < STILL_SECONDS]", "]"),),
        ("test_any_listing.py::test_a_copy_of_hours_holds_up_for_two_seconds_what_is_younger",),
    ),
    Mutation(
        KEPT,
        "who copies one after another holds up what is younger without end",
        "intake.py",
        (("        if not self._renamed.lasts(waiting=bool(new)):\n", "        if False:\n"),),
        (
            "test_any_listing.py::"
            "test_one_who_copies_one_after_another_holds_up_what_is_younger_for_a_while_only",
        ),
    ),
    Mutation(
        ORDER,
        "the age of what is still being copied is taken for that of the whole",
        "intake.py",
        (("min(map(self._by_age, new)", "min(map(self._order, new)"),),
        ("test_any_listing.py::test_a_copy_that_keeps_its_originals_time_gets_its_place_by_that",),
    ),
    Mutation(
        PROMPT,
        "what is put back before those that are held has all of them read again",
        "intake.py",
        (("complete_next = min(complete_here, self._complete_to)", "complete_next = complete_here"),),
        (
            "test_large_backlog.py::"
            "test_what_is_put_back_before_those_that_are_held_has_none_of_them_read_again",
        ),
    ),
    Mutation(
        PROMPT,
        "what lay behind the last limit of a large incoming/ is taken for put back",
        "intake.py",
        (("complete_next = min(complete_here, self._complete_to)", "complete_next = self._complete_to"),),
        ("test_large_backlog.py::test_what_lay_behind_the_last_limit_is_not_taken_for_put_back",),
    ),
    Mutation(
        KEPT,
        "those that are held take the room of those that could run",
        "intake.py",
        ((", is_known=self.backlog.is_read", ""),),
        ("test_large_backlog.py::test_those_that_are_held_keep_nobody_from_being_remembered",),
    ),
    Mutation(
        DURABLE,
        "a sync of the folder that fails is taken for one that didn't",
        "durable.py",
        (("            file.error = file.error or error\n", "            pass\n"),),
        ("test_faults.py::test_when_only_the_sync_of_the_folder_fails_it_is_503_and_the_file_stays_whole",),
    ),
    Mutation(
        DURABLE,
        "a sync of the file that failed is tried again",
        "durable.py",
        (
            (
                "                    step(descriptor)\n                except OSError as error:\n"
                "                    file.error = error\n",
                "                    step(descriptor)\n                except OSError:\n"
                "                    step(descriptor)\n",
            ),
        ),
        (f"{_TRIED_AGAIN}[of the file]",),
    ),
    Mutation(
        DURABLE,
        "a sync of the folder that failed is tried again",
        "durable.py",
        (
            (
                "    except OSError as error:\n        for file in synced:\n"
                "            file.error = file.error or error\n",
                "    except OSError:\n        os.fsync(folder)\n",
            ),
        ),
        (f"{_TRIED_AGAIN}[of the folder]",),
    ),
    Mutation(
        TRUE,
        "a file that can't be synced is left",
        "durable.py",
        (
            (
                "            if file.error is not None:\n                _drop(folder, file)\n",
                "",
            ),
        ),
        (
            "test_faults.py::test_what_the_disk_refuses_is_503_leaves_nothing_and_is_taken_when_the_fault_is_gone",
        ),
    ),
    Mutation(
        TRUE,
        "of files that come together one that fails takes the others with it",
        "durable.py",
        (
            (
                "                file.error = error\n        if sync:\n",
                "                raise\n        if sync:\n",
            ),
        ),
        ("test_durable.py::test_one_that_fails_takes_no_other_with_it",),
    ),
    Mutation(
        DURABLE,
        "of files that come together only the first is synced",
        "durable.py",
        (
            (
                "        for file, descriptor in opened:\n            if file.error",
                "        for file, descriptor in opened[:1]:\n            if file.error",
            ),
        ),
        (
            "test_durable.py::test_files_that_come_together_are_all_synced_before_any_gets_its_name_and_their_folder_once",
        ),
    ),
    Mutation(
        DURABLE,
        "what fails when files that come together are begun to be written out is passed over",
        "durable.py",
        (("        raise OSError(code, os.strerror(code))\n\n\ndef _drop(", "        pass\n\n\ndef _drop("),),
        ("test_durable.py::test_what_the_disk_has_no_block_for_is_never_taken_for_synced[2]",),
    ),
    Mutation(
        KEPT,
        "a defect in one of the requests that come together takes the others with it",
        "endpoint.py",
        (
            (
                "        except Exception:  # noqa: BLE001 - the sender gets an answer\n            return self._defect()\n",
                "",
            ),
        ),
        (
            "test_receiver.py::test_of_those_that_come_together_each_gets_its_own_answer_and_their_order_stays",
        ),
    ),
    Mutation(
        BOUNDED,
        "a header that came twice is read as if it came once",
        "plain_request.py",
        (("            len(headers) == len(fields)  # none came twice\n", "            True\n"),),
        ("test_plain_request.py::test_what_is_unusual_in_the_least_is_not_plain[two lengths]",),
    ),
    Mutation(
        CLEAR,
        "refusals stop being counted, and nobody is told, where the file is another user's",
        "refusals.py",
        (("                if error.errno not in _NOT_OURS:\n", "                if True:\n"),),
        (
            "test_refusals.py::test_another_users_file_makes_way_for_one_that_counts[closed]",
            "test_refusals.py::test_a_pipe_or_a_link_in_the_files_place_makes_way",
        ),
    ),
    Mutation(
        CLEAR,
        "nobody is told that refusals can't be counted",
        "refusals.py",
        (("            if not self._is_told:\n", "            if False:\n"),),
        ("test_refusals.py::test_that_nothing_can_be_counted_is_told_once_until_it_can",),
    ),
    Mutation(
        BOUNDED,
        "what comes in chunks is read as if it didn't",
        "plain_request.py",
        (('_NOT_PLAIN = ("HTTP_TRANSFER_ENCODING", "HTTP_EXPECT")\n', "_NOT_PLAIN = ()\n"),),
        ("test_plain_request.py::test_what_is_unusual_in_the_least_is_not_plain[chunks and a length]",),
    ),
    Mutation(
        KEPT,
        "many that are refused together each wait for a lock that nobody gives back",
        "refusals.py",
        (("            if self._clock.monotonic() < self._given_up_until:\n", "            if False:\n"),),
        ("test_refusals.py::test_whoever_waited_for_the_lock_in_vain_asks_for_it_only_later",),
    ),
    Mutation(
        BOUNDED,
        "an answered request keeps its memory",
        "accepted.py",
        (("        self.environ = None  # it refers", "        # it refers"),),
        ("test_server.py::test_the_memory_of_a_request_is_given_back_with_its_answer[50000]",),
    ),
    Mutation(
        KEPT,
        "who has to wait for the loop holds up those who were accepted at the same time",
        "acceptors.py",
        (("self._leave(one, may_wait=False)]\n", "self._leave(one, may_wait=True)]\n"),),
        ("test_server.py::test_who_has_to_wait_for_the_loop_holds_up_nobody_who_was_accepted_with_it",),
    ),
    Mutation(
        KEPT,
        "a defect ends the thread that accepts",
        "acceptors.py",
        (
            (
                "                        except Exception:  # noqa: BLE001 - the outermost frame",
                "                        except LookupError:  # noqa: BLE001 - the outermost frame",
            ),
        ),
        ("test_server.py::test_a_defect_costs_a_connection_and_no_acceptor",),
    ),
    Mutation(
        BOUNDED,
        "a connection that can't be accepted is tried without a pause",
        "acceptors.py",
        (("                self._stop.wait(_PAUSE_SECONDS)\n", "                pass\n"),),
        (
            "test_faults.py::"
            "test_when_not_even_a_connection_can_be_accepted_it_waits_without_spinning_and_is_answered_then",
        ),
    ),
    Mutation(
        KEPT,
        "a script whose link leads nowhere for a while isn't waited for",
        "dropins.py",
        (("                if _is_link(entry.path):\n", "                if False:\n"),),
        (
            "test_dropins.py::test_a_link_that_leads_nowhere_is_not_mistaken_for_no_script"
            "[nowhere-No such file or directory]",
            "test_turn.py::test_a_script_that_cannot_be_looked_at_costs_a_minute_and_no_attempt",
        ),
    ),
    Mutation(
        KEPT,
        "a script that can't be looked at isn't waited for",
        "dropins.py",
        (("            except FileNotFoundError:  # it has", "            except OSError:  # it has"),),
        ("test_dropins.py::test_a_script_that_no_descriptor_is_left_for_is_not_mistaken_for_none",),
    ),
    Mutation(
        KEPT,
        "a script in a type's folder whose link leads nowhere is taken for no such folder",
        "dropins.py",
        (("if error.filename != own_folder or (_is", "if (_is"),),
        (
            "test_dropins.py::test_a_link_that_leads_nowhere_is_not_mistaken_for_no_script"
            "[nowhere-No such file or directory]",
        ),
    ),
    Mutation(
        KEPT,
        "a type's folder whose link leads nowhere for a while is taken for none",
        "dropins.py",
        ((" or (_is_link(own_folder) and not is_script):", ":"),),
        (
            "test_dropins.py::"
            "test_a_link_in_a_types_place_that_leads_nowhere_is_not_mistaken_for_no_folder"
            "[nowhere-_contact_modified]",
        ),
    ),
    Mutation(
        CLEAR,
        "of a script that notifications wait for it is said that it is ignored",
        "check.py",
        (("    if dropins.holds_up(ignored):\n", "    if False:\n"),),
        ("test_check.py::test_a_script_that_cannot_be_looked_at_is_wrong",),
    ),
    Mutation(
        CLEAR,
        "where notifications wait for a script it is said that they go straight to done/",
        "check.py",
        ((" and not dropins.holds_up(ignored) for", " for"),),
        ("test_check.py::test_a_script_that_cannot_be_looked_at_is_wrong",),
    ),
    Mutation(
        KEPT,
        "an error of the disk settles what it held up",
        "turn.py",
        (
            (
                "            return self._put_back(seat, name, str(error))\n",
                "            return self._give_up(name, str(error))\n",
            ),
        ),
        (
            "test_full_disks.py::test_what_waits_when_the_disk_fills_up_is_kept_costs_no_attempt_and_is_processed_when_there_is_room",
        ),
    ),
    Mutation(
        PROMPT,
        "an arrival is held back until what has left might have come back",
        "watcher.py",
        (("        return Mask(mask & ~InotifyConstants.IN_MOVED_FROM)\n", "        return mask\n"),),
        ("test_processor.py::test_no_arrival_waits_for_what_has_left",),
    ),
    Mutation(
        ORDER,
        "what is moved out of a folder is never heard of",
        "watcher.py",
        (("        if mask & InotifyConstants.IN_DELETE:\n", "        if False:\n"),),
        ("test_processor.py::test_what_leaves_a_folder_of_departures_wakes_it",),
    ),
    Mutation(
        ALIVE,
        "a status too many is taken for the next notification's",
        "channel.py",
        (
            ("        return False  # a further status, or the end\n", "        return True\n"),
            ("        if self._is_unread():\n", "        if False:\n"),
        ),
        ("test_keeper.py::test_a_status_too_many_is_nobody_elses[sleep 0.05;]",),
    ),
    Mutation(
        ALIVE,
        "of two statuses at once the first one counts",
        "channel.py",
        (("        line = self._line + came\n", "        line = (self._line + came)[:2]\n"),),
        (
            "test_channel.py::test_what_is_no_status_is_refused_and_shown",
            "test_keeper.py::test_what_is_no_status_is_a_failed_attempt_and_its_end[two statuses]",
        ),
    ),
    Mutation(
        ALIVE,
        "a status is believed of one that hasn't read what it is for",
        "channel.py",
        (("        if self._is_unread():\n", "        if False:\n"),),
        ("test_channel.py::test_a_status_for_what_wasnt_read_is_refused",),
    ),
    Mutation(
        ALIVE,
        "a death with a notification in hand is no failed attempt",
        "scripts.py",
        (("        if living.never_saw and run.exit", "        if living.has_ended and run.exit"),),
        ("test_keeper.py::test_its_end_answers_for_what_it_has_in_hand[exit 3-3]",),
    ),
    Mutation(
        ALIVE,
        "one that ends with 0 and never read of the next has done it",
        "scripts.py",
        (("        if living.never_saw and run.exit", "        if False and run.exit"),),
        ("test_keeper.py::test_one_that_ends_without_having_read_of_the_next_has_not_begun_it[exit 0]",),
    ),
    Mutation(
        ALIVE,
        "a death while it waits is the next one's failed attempt",
        "keeper.py",
        (
            (
                "                _tell(kept, _why_unseen(error), error.run)\n",
                "                return error.run\n",
            ),
        ),
        ("test_keeper.py::test_its_end_while_it_waits_costs_nothing[exit 3]",),
    ),
    Mutation(
        ALIVE,
        "one that was stuck while it waited is the next one's failed attempt",
        "scripts.py",
        (('run.exit != "interrupted":\n', 'run.exit not in {"timeout", "interrupted"}:\n'),),
        (
            "test_keeper.py::"
            "test_one_that_is_stuck_while_it_waits_is_ended_and_the_next_given_to_a_new_one[stopped]",
        ),
    ),
    Mutation(
        ALIVE,
        "a notification waits for one after the other of those that are stuck",
        "keeper.py",
        (("                if error.is_stuck:\n", "                if False:\n"),),
        ("test_keeper.py::test_of_several_that_are_stuck_a_notification_waits_for_one_alone",),
    ),
    Mutation(
        ALIVE,
        "who takes its variables from the line loses the channel",
        "scripts.py",
        (("        told[VARIABLE] = living.environment[VARIABLE]\n", ""),),
        ("test_keeper.py::test_the_next_one_is_told_with_all_variables",),
    ),
    Mutation(
        ALIVE,
        "a changed file is served by the process of the old one",
        "keeper.py",
        (
            ("and (kept.script, kept.stamp) != (script, stamp)\n", "and False\n"),
            (
                "                if kept.script == script:\n",
                "                if kept.script.path == script.path:\n",
            ),
        ),
        ("test_keeper.py::test_a_changed_file_is_served_by_a_new_process_and_the_old_one_has_left_before",),
    ),
    Mutation(
        ALIVE,
        "the new process is started before the old one has ended",
        "keeper.py",
        (("        for thread in leaving:\n            thread.join()\n", ""),),
        ("test_keeper.py::test_a_changed_file_is_served_by_a_new_process_and_the_old_one_has_left_before",),
    ),
    Mutation(
        ALIVE,
        "one is given notifications without end",
        "keeper.py",
        (("        if kept.served >= self._most_notifications:\n", "        if False:\n"),),
        ("test_keeper.py::test_after_so_many_notifications_it_is_started_anew",),
    ),
    Mutation(
        ALIVE,
        "one waits for ever",
        "keeper.py",
        ((" if now - kept.waits_since >= self._idle_seconds else", " if False else"),),
        ("test_keeper.py::test_after_so_long_without_any_it_is_ended",),
    ),
    Mutation(
        ALIVE,
        "those that wait take turns, and a surplus never ends",
        "keeper.py",
        (("in reversed(self._waiting):", "in self._waiting:"),),
        ("test_keeper.py::test_the_one_that_answered_last_goes_on_so_that_a_surplus_ends",),
    ),
    Mutation(
        ALIVE,
        "what is printed before the answer may stand in the next one's log",
        "scripts.py",
        (
            (
                "                        output.drain()\n                        return status\n",
                "                        return status\n",
            ),
        ),
        ("test_keeper.py::test_output_belongs_to_the_notification_that_was_in_hand",),
    ),
    Mutation(
        ALIVE,
        "a status counts though the time was up",
        "scripts.py",
        (("                    watched -= living.listens_to\n                elif", "                elif"),),
        ("test_keeper.py::test_a_status_after_the_time_limit_is_none",),
    ),
    Mutation(
        ALIVE,
        "the working folder is as the last notification left it",
        "keeper.py",
        (('"" if work_folder.empty(kept.folder.path) else', '"" if True else'),),
        ("test_keeper.py::test_each_notification_finds_an_empty_working_folder",),
    ),
    Mutation(
        ALIVE,
        "what a script left behind is spared if one that waits had the same notification",
        "scripts.py",
        (("    for variable in (VARIABLE, OWNER_VARIABLE):\n", "    for variable in (OWNER_VARIABLE,):\n"),),
        ("test_keeper.py::test_what_another_script_has_left_is_ended_though_one_stays_alive",),
    ),
    Mutation(
        ALIVE,
        "one that told what is no status was killed by a signal, as the folders tell it",
        "scripts.py",
        ((", living.output.take(), living.was_refused)\n", ", living.output.take())\n"),),
        ("test_staying_alive.py::test_what_is_no_status_is_given_up_with_words_that_say_so",),
    ),
    Mutation(
        ALIVE,
        "those that wait outlive the processor",
        "processor.py",
        (
            (
                "                    keeper.end_waiting()  # while the workers go on for a while\n",
                "                    pass\n",
            ),
            ("                keeper.close()\n", "                pass\n"),
        ),
        ("test_staying_alive.py::test_a_stop_ends_one_that_waits_and_does_not_leave_by_itself",),
    ),
    Mutation(
        ALIVE,
        "one that is to end gets SIGTERM at once",
        "scripts.py",
        (
            (
                "        return self.attend(living, self._kill_after_seconds)\n",
                "        return self.attend(living, 0.0)\n",
            ),
        ),
        (
            "test_keeper.py::test_one_that_waits_has_its_time_to_clean_up_when_spooler_stops",
            "test_keeper.py::test_one_that_answers_when_spooler_stops_has_its_time_to_clean_up",
            "test_staying_alive.py::test_a_stop_leaves_one_that_waits_its_time_to_clean_up",
        ),
    ),
    Mutation(
        ALIVE,
        "a stop interrupts one that has nothing in hand",
        "scripts.py",
        ((" and living.has_work and ", " and "),),
        ("test_keeper.py::test_one_that_waits_has_its_time_to_clean_up_when_spooler_stops",),
    ),
    Mutation(
        ONCE,
        "one that stayed alive outlives a crash, and works on",
        "recovery.py",
        (("    _end_survivors(spool)\n", ""),),
        (
            "test_staying_alive.py::test_after_a_crash_no_survivor_works_on_and_only_the_interrupted_one_runs_again",
            "test_staying_alive.py::test_after_a_crash_one_that_waits_and_does_not_leave_is_ended",
        ),
    ),
    Mutation(
        KEPT,
        "one log that was left behind and can't be read holds its webhook back",
        "recovery.py",
        (
            (
                "            _bring_after_its_file(spool, log)\n        except ONE_FILES_ERRORS",
                "            _bring_after_its_file(spool, log)\n        except ZeroDivisionError",
            ),
        ),
        (
            "test_recovery.py::test_a_log_that_was_left_behind_and_is_no_file_holds_up_nothing",
            "test_recovery.py::test_a_log_that_was_left_behind_and_is_somebody_elses_holds_up_nothing",
        ),
    ),
    Mutation(
        TRUE,
        "a closed folder in done/ keeps a log from being brought after its file",
        "recovery.py",
        (
            (
                "        return path.is_file()\n    except PermissionError",
                "        return path.is_file()\n    except ZeroDivisionError",
            ),
        ),
        ("test_recovery.py::test_a_closed_folder_in_done_keeps_nothing_from_being_put_right",),
    ),
    Mutation(
        TRUE,
        "what was moved and whose log could not follow is taken for gone",
        "spool.py",
        (
            (
                "                if not MOVES[verb].synced:\n                    raise\n",
                "                raise\n",
            ),
        ),
        (
            "test_turn.py::test_what_was_moved_and_whose_log_could_not_follow_is_where_it_is_and_counts_as_that",
        ),
    ),
    Mutation(
        ONCE,
        "the mark of what was moved to wait, and whose log could not follow, is cleared",
        "turn.py",
        (("            seat.keep()  # its attempt counts, should its log be lost\n", ""),),
        (
            "test_turn.py::test_what_was_moved_and_whose_log_could_not_follow_is_where_it_is_and_counts_as_that"
            "[postpone]",
        ),
    ),
    Mutation(
        ONCE,
        "what waits without its log begins at its first script again",
        "turn.py",
        ((" or self._left_lines(state, name)", ""),),
        ("test_turn.py::test_what_waits_without_its_log_gets_it_back_before_its_next_attempt",),
    ),
    Mutation(
        KEPT,
        "the processor ends when no descriptor is left to look for orphans with",
        "keeper.py",
        (
            (
                "        with suppress(OSError):  # no descriptor",
                "        with suppress(KeyError):  # no descriptor",
            ),
        ),
        ("test_keeper.py::test_what_ended_below_it_is_reaped_when_there_are_descriptors_again",),
    ),
    Mutation(
        KEPT,
        "what no thread could be had for is never begun",
        "processor.py",
        (("                self._begin(pool, None)\n", "                pass\n"),),
        ("test_processor.py::test_where_no_thread_can_be_had_it_goes_on_when_one_can",),
    ),
    Mutation(
        KEPT,
        "a service ends when a process of its can't be started for now",
        "supervisor.py",
        (
            (
                "                except OSError as error:  # too many",
                "                except KeyError as error:  # too many",
            ),
        ),
        ("test_supervisor.py::test_a_child_that_could_not_be_started_is_tried_again_in_no_hurry",),
    ),
    Mutation(
        KEPT,
        "without standard error nothing works",
        "log.py",
        (("        sys.stderr = _nowhere()\n", "        pass\n"),),
        ("test_service.py::test_without_standard_error_all_is_done_and_nothing_is_logged",),
    ),
    Mutation(
        KEPT,
        "a child that can't write what is left of its log goes on as if it were the parent",
        "supervisor.py",
        (
            (
                "        finally:\n            os._exit(code)  # whatever",
                "        except KeyError:\n            pass\n        else:\n            os._exit(code)  # whatever",
            ),
        ),
        ("test_supervisor.py::test_a_child_without_standard_error_ends_as_any_other",),
    ),
    Mutation(
        KEPT,
        "one that is put back after a crash and whose log can't follow holds its webhook back",
        "recovery.py",
        (("    except NotSyncedError as error:", "    except KeyError as error:"),),
        ("test_recovery.py::test_what_was_put_back_and_whose_log_could_not_follow_holds_up_nothing",),
    ),
    Mutation(
        TRUE,
        "what is dropped as midnight comes is noted in the wrong day",
        "person.py",
        (("self.path(State.DONE, name, day), text", "self.path(State.DONE, name, self.today), text"),),
        ("test_person.py::test_what_is_dropped_at_midnight_is_noted_and_synced_where_it_went[1-retry]",),
    ),
    Mutation(
        TRUE,
        "more is said to be removed than notifications were",
        "person.py",
        (("removed += is_one(entry)", "removed += 1"),),
        ("test_cli_prune.py::test_as_many_are_removed_as_were_said_to_be",),
    ),
    Mutation(
        TRUE,
        "any folder in done/ is taken for a day's, and stops a webhook if it can't be read",
        "folders.py",
        (("sorted(filter(_is_day, found))", "sorted(found)"),),
        (
            "test_folders.py::test_the_days_are_the_folders_in_done_that_are_named_so_oldest_first",
            "test_processor.py::test_only_a_day_s_folder_in_done_has_to_be_readable_and_it_is_named",
        ),
    ),
    Mutation(
        CLEAR,
        "a day of done/ that the service can't read isn't told of",
        "check.py",
        (("        closed += _closed(", "        _closed("),),
        ("test_check.py::test_what_root_asks_is_answered_for_the_user_who_owns_the_spool",),
    ),
    Mutation(
        TRUE,
        "an ID isn't looked for behind a day that can't be read, and nobody is told",
        "selection.py",
        (
            (
                "                with _passing_over(folder, unreadable):\n                    for entry",
                "                with _passing_over(folder, lambda *_: None):\n                    for entry",
            ),
        ),
        (
            "test_selection.py::test_a_day_that_cannot_be_read_is_told_and_hides_no_other[command3-id        id-failed]",
        ),
    ),
    Mutation(
        TRUE,
        "one log that can't be read keeps everything from being pruned",
        "pruning.py",
        (
            (
                "        except OSError as error:\n            unreadable(place, error)\n",
                "",
            ),
        ),
        ("test_cli_prune.py::test_what_cannot_be_read_is_told_once_and_left_and_all_others_go",),
    ),
    Mutation(
        TRUE,
        "a spool that isn't there is taken for an empty one",
        "cli/scope.py",
        (("    if not configuration.spool.exists():\n", "    if False:\n"),),
        tuple(
            f"test_cli.py::test_a_spool_that_is_not_there_is_told_and_not_taken_for_an_empty_one[{command}]"
            for command in ("status", "list failed", "resume", "readmit", "prune --yes")
        ),
    ),
    Mutation(
        PROMPT,
        "a watchdog that is shorter than the shipped units' isn't heeded",
        "supervisor.py",
        (("min(_LOOK_SECONDS, self._manager.beat_within_seconds)", "_LOOK_SECONDS"),),
        ("test_service_manager.py::test_a_watchdog_that_an_administrator_made_short_is_heeded",),
    ),
    Mutation(
        PROMPT,
        "a child that hangs is found out at the parent's next look",
        "supervisor.py",
        (("min([look, *starts, *hung])", "min([look, *starts])"),),
        (
            "test_supervisor.py::"
            "test_a_child_that_hangs_is_found_out_when_its_time_is_over_though_the_parent_sleeps_long",
        ),
    ),
    Mutation(
        TRUE,
        "what is counted while the numbers are written waits for the next count",
        "shared_measures.py",
        (
            (
                "            measures.counted.clear()  # RACE: before they are copied; what is counted after that is new again\n",
                "",
            ),
            (
                "                self._write()\n            except",
                "                self._write()\n                measures.counted.clear()\n            except",
            ),
        ),
        ("test_shared_measures.py::test_what_is_counted_while_the_numbers_are_written_is_written_next",),
    ),
    Mutation(
        TRUE,
        "numbers that could not be written wait for the next count",
        "shared_measures.py",
        (
            (
                "            measures.counted.set()  # it is tried again, whether anything is counted or not\n",
                "",
            ),
        ),
        (
            "test_shared_measures.py::"
            "test_numbers_that_cannot_be_written_stop_neither_the_thread_nor_the_process",
        ),
    ),
    Mutation(
        ALIVE,
        "notifications() says of one that it is done when nothing of it was looked at",
        "script.py",
        ((" or not notification._was_looked_at", ""),),
        ("test_script.py::test_what_takes_them_all_before_it_looks_at_any_gets_one_and_answers_by_its_exit",),
    ),
    Mutation(
        ALIVE,
        "a second loop over notifications() gets the first one again, without its body",
        "script.py",
        (("    if _begun:\n", "    if False:\n"),),
        ("test_script.py::test_a_second_loop_is_a_clear_error_and_answers_for_none",),
    ),
    Mutation(
        ALIVE,
        "notifications() answers before what was printed is out",
        "script.py",
        (("            stream.flush()  # what was printed belongs to that one\n", "            pass\n"),),
        ("test_script.py::test_what_was_printed_is_out_before_the_answer",),
    ),
    Mutation(
        ALIVE,
        "a program that a script runs may answer for it",
        "script.py",
        ((" or os.getsid(0) != os.getpid()", ""),),
        ("test_script.py::test_a_program_that_the_script_runs_does_not_answer_for_it",),
    ),
    Mutation(
        TRUE,
        "a word of a file's name is taken for the name of another",
        "cli/moving.py",
        (('os.fsdecode(content).split("\\n")', "os.fsdecode(content).split()"),),
        ("test_cli_drop.py::test_a_line_of_standard_input_is_one_name_whatever_blanks_it_holds",),
    ),
    Mutation(
        ORDER,
        "what people named goes back to incoming/ in the order of its names",
        "selection.py",
        (("    if not has_pattern(place.file_name):\n", "    if False:\n"),),
        (
            "test_selection.py::test_what_a_person_named_comes_when_it_was_received",
            "test_cli_retry.py::test_what_people_named_goes_back_in_order_of_receipt_too",
        ),
    ),
    Mutation(
        ORDER,
        "what people named goes back by its IDs in the order of its names",
        "cli/retry.py",
        (("key=by_receipt", "key=lambda place: place.file_name"),),
        ("test_cli_retry.py::test_what_people_named_goes_back_in_order_of_receipt_too",),
    ),
    Mutation(
        TRUE,
        "a log whose file is gone is a failure of today",
        "inventory.py",
        (
            (
                "self._was_written_today(entry) and self._has_file(entry.name)",
                "self._was_written_today(entry)",
            ),
        ),
        ("test_inventory.py::test_only_the_log_of_a_notification_tells_of_a_failure",),
    ),
    Mutation(
        TRUE,
        "whatever is named like a log is a failure of today",
        "inventory.py",
        (("stat.S_ISREG(status.st_mode) and status.st_mtime", "status.st_mtime"),),
        ("test_inventory.py::test_only_the_log_of_a_notification_tells_of_a_failure",),
    ),
    Mutation(
        TRUE,
        "what was removed isn't counted where a person made a folder in its day",
        "person.py",
        (("{errno.ENOENT, errno.ENOTEMPTY}", "{errno.ENOENT}"),),
        (
            "test_person.py::test_a_pruned_day_is_gone_but_what_is_no_file_stays",
            "test_cli_prune.py::test_what_a_person_made_in_done_is_left",
        ),
    ),
    Mutation(
        CLEAR,
        "what can be no variable's name may be handed on to scripts",
        "config.py",
        (("        if not _VARIABLE.fullmatch(name):\n", "        if False:\n"),),
        ("test_config.py::test_what_can_be_no_variable_s_name_is_refused",),
    ),
    Mutation(
        CLEAR,
        "a webhook's folder of scripts that is empty text means the general one",
        "config.py",
        (('if table.processors == "":', "if False:"),),
        ("test_config.py::test_a_mistake_in_a_webhook_is_told_with_its_name",),
    ),
    Mutation(
        CLEAR,
        "a webhook's wrong type is told in msgspec's words",
        "config_errors.py",
        (('.replace(" | null`", "`")', ""),),
        ("test_config.py::test_a_mistake_in_a_webhook_is_told_with_its_name",),
    ),
    Mutation(
        TRUE,
        "what somebody else readmitted is said to stay in rejected/",
        "cli/readmit.py",
        (("sum(verdict.place.path.exists() for verdict in verdicts)", "len(verdicts) - moved"),),
        ("test_cli_readmit.py::test_what_somebody_else_was_faster_with_does_not_stay",),
    ),
)


def mutate(root: Path, changes: Iterable[tuple[str, str]], module: str) -> Path:
    """Make a copy of the package with a module changed; return the folder to put first on the path."""
    package = Path(spooler.__file__).parent
    copy = shutil.copytree(package, root / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    source = copy / module
    text = source.read_text(encoding="utf-8")
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(
                f"{module} has changed: mend this mutation ({old!r} is there {text.count(old)} times)"
            )
        text = text.replace(old, new)
    source.write_text(text, encoding="utf-8")
    return root


def survives(mutation: Mutation) -> list[str]:
    """Return those of its tests that don't fail with it; none for a mutation that is found out."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as root:
        path = mutate(Path(root), mutation.changes, mutation.module)
        return [test for test in mutation.tests if _run(test, path) != _FAILED]


def _run(test: str, path: Path) -> int:
    """Run a test with a package that lies in the folder `path`; return pytest's exit status."""
    # The tests' own limit on how long they are patient is what makes a broken spooler slow to be found out.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        str(TESTS / test),
    ]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            cwd=TESTS,
            env=os.environ | {"PYTHONPATH": str(path)},
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _HANGS
    return ended.returncode


def _table(mutations: Iterable[Mutation]) -> Table:
    table = Table("promise", "broken on purpose", "found out by")
    for mutation in mutations:
        table.add_row(mutation.promise, f"{mutation.module}: {mutation.broken}", "\n".join(mutation.tests))
    return table


def main() -> int:
    """Run them as asked; the exit status is 1 if one wasn't found out."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="those whose promise, change or module has it"
    )
    parser.add_argument("--list", action="store_true", help="print the table and run nothing")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if options.only.lower() in f"{mutation.promise} {mutation.module} {mutation.broken}".lower()
    ]
    console = Console()
    if options.list:
        console.print(_table(chosen))
        return 0
    progress = track(chosen, "mutations", console=Console(stderr=True), disable=not sys.stderr.isatty())
    missed = []
    for mutation in progress:
        if tests := survives(mutation):
            missed.append((mutation, tests))
            if not options.json:  # at once: all of them take half an hour, and may be cut short
                words = f"{mutation.module}: {mutation.broken}: {', '.join(tests)}"
                console.print(f"[red]not found out[/]: {words}")
    if options.json:
        found = {
            "tried": len(chosen),
            "missed": [{"broken": m.broken, "tests": tests} for m, tests in missed],
        }
        console.print_json(json.dumps(found))
    else:
        console.print(f"{len(chosen)} mutations, {len(chosen) - len(missed)} found out")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
