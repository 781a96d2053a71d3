//! The registry, from publishing a record to sweeping it.

use super::*;
use crate::dir::testing::{age, give_away, home, mkdir, mkfifo, names};
use crate::dir::{Flaw, Kind};
use hallway_core::local::record::Process;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::Instant;

/// A pid that no process has: above the kernel's largest.
const GONE: u32 = 2_000_000_000;

fn own(pid: u32) -> Record {
    let mut record = Record::new(pid);
    record.set_text("entrypoint", ENTRYPOINT);
    record.set_text("processStart", &own_process_start().unwrap());
    record
}

fn write_file(home: &tempfile::TempDir, name: &str, content: &str) {
    mkdir(home.path().join(DIRECTORY));
    fs::write(home.path().join(DIRECTORY).join(name), content).unwrap();
}

/// Covers: L2.18, L5.15
#[test]
fn a_record_is_published_private_updated_at_once_and_withdrawn() {
    let (home, _) = home();
    let pid = std::process::id();
    let config = home.path().join("config");
    let mut registered = publish(&config, &own(pid)).unwrap();
    for (path, mode) in [
        (config.clone(), 0o700),
        (config.join("sessions"), 0o700),
        (config.join(format!("sessions/{pid}.json")), 0o600),
    ] {
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o7777,
            mode,
            "{path:?}"
        );
    }
    let mut renamed = own(pid);
    renamed.set_text("name", "other");
    registered.update(&renamed).unwrap();
    let found = scan(&config).unwrap();
    assert_eq!(found.len(), 1);
    let session = found[0].outcome.as_ref().unwrap();
    assert_eq!((found[0].pid, &session.record), (pid, &renamed));
    assert_eq!(session.liveness, Liveness::Live);
    let other = registered.update(&Record::new(pid + 1)).unwrap_err();
    assert!(matches!(other, RegistryError::OtherPid { .. }), "{other}");
    drop(registered);
    assert!(scan(&config).unwrap().is_empty());
}

#[test]
fn a_record_that_has_been_replaced_is_not_withdrawn() {
    let (home, _) = home();
    let first = publish(home.path(), &own(7)).unwrap();
    let second = publish(home.path(), &own(7)).unwrap();
    drop(first);
    assert_eq!(scan(home.path()).unwrap().len(), 1);
    drop(second);
    assert_eq!(scan(home.path()).unwrap().len(), 0);
}

#[test]
fn a_record_that_readers_would_skip_is_refused() {
    let (home, _) = home();
    let mut record = own(7);
    record.set_text("name", &"x".repeat(Record::MAX_BYTES));
    let refused = publish(home.path(), &record).unwrap_err();
    assert!(
        matches!(refused, RegistryError::TooLarge { .. }),
        "{refused}"
    );
    assert!(scan(home.path()).unwrap().is_empty());
}

#[test]
fn no_registry_is_an_empty_one_but_an_open_one_is_refused() {
    let (home, _) = home();
    assert!(scan(&home.path().join("none")).unwrap().is_empty());
    assert!(scan(home.path()).unwrap().is_empty());
    assert_eq!(sweep(home.path()).unwrap(), Swept::default());
    write_file(&home, "7.json", "{}");
    crate::dir::testing::chmod(&home.path().join(DIRECTORY), 0o755);
    assert_eq!(scan(home.path()).unwrap().len(), 1, "others may read it");
    crate::dir::testing::chmod(&home.path().join(DIRECTORY), 0o777);
    let refused = scan(home.path()).unwrap_err().to_string();
    assert!(
        refused.starts_with("directory permissions are too broad"),
        "{refused}"
    );
}

/// Covers: L2.23
#[test]
fn only_files_named_by_a_pid_are_read() {
    let (home, _) = home();
    for name in [
        "7.json",
        "12.json",
        "009.json",
        "+9.json",
        "-9.json",
        "7.json.bak",
        "7.JSON",
        "x.json",
        "0.json",
        ".json",
        "7 .json",
        "4294967296.json",
        "2147483648.json",
        "\u{0667}.json",
    ] {
        write_file(&home, name, "{}");
    }
    let pids: Vec<u32> = scan(home.path())
        .unwrap()
        .iter()
        .map(|found| found.pid)
        .collect();
    assert_eq!(pids, [7, 12]);
}

#[test]
fn records_come_by_pid() {
    let (home, _) = home();
    for pid in (1..=40).rev() {
        write_file(&home, &file_name(pid * 7), "{}");
    }
    let pids = scan(home.path())
        .unwrap()
        .into_iter()
        .map(|found| found.pid);
    assert!(pids.eq((1..=40).map(|pid| pid * 7)));
}

#[test]
fn a_pid_is_spelled_in_one_way() {
    assert_eq!(canonical_pid("7"), Some(7));
    assert_eq!(canonical_pid("2147483647"), Some(2_147_483_647));
    for text in [
        "",
        "0",
        "07",
        "+7",
        "-7",
        " 7",
        "7 ",
        "7a",
        "\u{667}",
        "2147483648",
    ] {
        assert_eq!(canonical_pid(text), None, "{text:?}");
    }
}

/// Covers: L2.24
#[test]
fn what_is_no_record_is_skipped_with_its_reason() {
    let (home, _) = home();
    write_file(&home, "1.json", "{\"pid\":");
    write_file(&home, "2.json", &" ".repeat(Record::MAX_BYTES + 1));
    symlink("1.json", home.path().join("sessions/3.json")).unwrap();
    mkfifo(home.path().join("sessions/4.json"));
    mkdir(home.path().join("sessions/5.json"));
    write_file(&home, "6.json", "{}");
    let given = give_away(&home.path().join("sessions/6.json"));
    let skipped: Vec<(u32, Skipped)> = scan(home.path())
        .unwrap()
        .into_iter()
        .filter_map(|found| found.outcome.err().map(|why| (found.pid, why)))
        .collect();
    assert_eq!(skipped.len(), if given { 6 } else { 5 });
    for (pid, why) in skipped {
        let flaw = match &why {
            Skipped::Content {
                source: RecordError::NotAnObject,
                ..
            } if pid == 1 => continue,
            Skipped::File(DirError::TooLarge { .. }) if pid == 2 => continue,
            Skipped::File(DirError::Untrusted { flaw, .. }) => *flaw,
            Skipped::Content { .. } | Skipped::File(_) => panic!("{pid}: {why}"),
        };
        let expected = match pid {
            3 => Flaw::Kind(Kind::Link),
            4 => Flaw::Kind(Kind::Special),
            5 => Flaw::Kind(Kind::Directory),
            _ => Flaw::Owner(crate::dir::testing::OTHER),
        };
        assert_eq!(flaw, expected, "{pid}");
    }
}

fn glanced(home: &tempfile::TempDir) -> Vec<(u32, Liveness)> {
    let liveness = |found: Scanned| Some((found.pid, found.outcome.ok()?.liveness));
    glance(home.path(), liveness).unwrap()
}

#[test]
fn a_glance_believes_a_living_writer_of_ours_and_nobody_else() {
    let (home, _) = home();
    let pid = std::process::id();
    let mut record = own(pid);
    record.set_text("processStart", "another boot:1");
    let held = publish(home.path(), &record).unwrap();
    let gone = publish(home.path(), &own(GONE)).unwrap();
    // Who holds the lock is there, whatever the record says; the pid must be there, too.
    assert_eq!(
        glanced(&home),
        [(pid, Liveness::Live), (GONE, Liveness::Gone)]
    );
    // Unless anybody may have locked it.
    let path = home.path().join(DIRECTORY).join(file_name(pid));
    crate::dir::testing::chmod(&path, 0o604);
    assert_eq!(glanced(&home)[0], (pid, Liveness::Recycled));
    drop((held, gone));
    assert!(glanced(&home).is_empty());
    write_file(&home, &file_name(pid), &record.print());
    assert_eq!(glanced(&home), [(pid, Liveness::Recycled)]);
    // Another program may lock its file for any reason.
    record.set_text("entrypoint", "cli");
    let _held = publish(home.path(), &record).unwrap();
    assert_eq!(glanced(&home), [(pid, Liveness::Recycled)]);
}

#[test]
fn a_glance_sees_who_is_there_without_asking_since_when() {
    let (home, _) = home();
    let pid = std::process::id();
    let mut record = Record::new(pid);
    record.set_number("startedAt", 4_000_000_000_000);
    write_file(&home, &file_name(pid), &record.print());
    write_file(&home, &file_name(GONE), "{}");
    assert_eq!(
        glanced(&home),
        [(pid, Liveness::Doubtful), (GONE, Liveness::Gone)]
    );
    let scanned = scan(home.path()).unwrap();
    let thorough = scanned[0].outcome.as_ref().unwrap().liveness;
    assert_eq!(thorough, Liveness::Live);
}

/// Covers: L5.14a
#[test]
fn the_dead_and_the_recycled_are_told_from_the_living() {
    let (home, _) = home();
    let pid = std::process::id();
    write_file(&home, &format!("{GONE}.json"), "{}");
    let mut record = own(pid);
    record.set_text("processStart", "another boot:1");
    write_file(&home, &format!("{pid}.json"), &record.print());
    let found = scan(home.path()).unwrap();
    let of = |index: usize| found[index].outcome.as_ref().unwrap().liveness;
    assert_eq!((found[0].pid, of(0)), (pid, Liveness::Recycled));
    assert_eq!((found[1].pid, of(1)), (GONE, Liveness::Gone));
}

#[test]
fn dead_records_of_ours_are_swept_and_nothing_else() {
    let (home, _) = home();
    let pid = std::process::id();
    let mut recycled = own(pid);
    recycled.set_text("processStart", "another boot:1");
    let mut other = Record::new(GONE + 1);
    other.set_text("entrypoint", "cli");
    let records = [own(GONE), other, own(GONE + 2), recycled, own(GONE + 3)];
    for record in &records {
        write_file(&home, &file_name(record.pid()), &record.print());
        age(
            &home.path().join(DIRECTORY).join(file_name(record.pid())),
            61,
        );
    }
    write_file(&home, ".hallway-1-0.tmp", "");
    age(&home.path().join("sessions/.hallway-1-0.tmp"), 61);
    write_file(&home, &file_name(GONE + 2), &own(GONE + 2).print()); // young again
    // Of a process that runs, though it does not hold the lock.
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = own(child.id());
    if let Process::Running {
        start_id: Some(id), ..
    } = process_facts(child.id())
    {
        running.set_text("processStart", &id);
    }
    write_file(&home, &file_name(child.id()), &running.print());
    age(&home.path().join(DIRECTORY).join(file_name(child.id())), 61);
    let dir = Dir::open(&home.path().join(DIRECTORY)).unwrap();
    // As by a daemon elsewhere.
    let _held = dir.lock(&file_name(GONE + 3)).unwrap().unwrap();
    let swept = sweep(home.path()).unwrap();
    assert_eq!(swept.removed, [pid, GONE]);
    assert_eq!(swept.others, [GONE + 1]);
    let mut left = [child.id(), GONE + 1, GONE + 2, GONE + 3].map(file_name);
    left.sort();
    assert_eq!(names(&dir), left);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_living_record_of_ours_is_never_swept() {
    let (home, _) = home();
    let registered = publish(home.path(), &own(GONE)).unwrap();
    let path = home.path().join(DIRECTORY).join(file_name(GONE));
    age(&path, 3_600);
    assert_eq!(sweep(home.path()).unwrap(), Swept::default());
    assert!(path.exists());
    drop(registered);
    assert!(!path.exists());
}

#[test]
fn the_cost_of_a_scan_grows_linearly() {
    let (home, _) = home();
    let text = own(1).print();
    let dir = home.path().join(DIRECTORY);
    mkdir(&dir);
    let best_with = |records: std::ops::RangeInclusive<u32>| {
        let last = *records.end();
        for pid in records {
            fs::write(dir.join(file_name(pid)), &text).unwrap();
        }
        let scans = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(scan(home.path()).unwrap().len(), last as usize);
            start.elapsed()
        });
        scans.min().unwrap()
    };
    let (small, large) = (best_with(1..=1_000), best_with(1_001..=10_000));
    // Ten times as many records: a hundred times the cost would be quadratic.
    assert!(
        large < small * 40,
        "{small:?} for 1,000, {large:?} for 10,000"
    );
}
