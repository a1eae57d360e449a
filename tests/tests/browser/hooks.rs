//! `useSlots` in React 18 and 19: rendered when what is shown changed and not otherwise, nothing missed, nothing left.

use serde_json::{Value, json};
use support::{Browser, Gateway, NodeFolder, Page, Room, Window};

const CHANGES: u32 = 1_000;

/// React's own files by the names they require each other by.
async fn react(version: u32) -> Value {
    let folder = NodeFolder::with(&[]).await;
    let file = |path: &str| folder.package_file(path);
    match version {
        18 => json!({
            "react": file("react18/cjs/react.development.js"),
            "scheduler": file("scheduler/cjs/scheduler.development.js"),
            "client": file("react-dom18/cjs/react-dom.development.js"),
        }),
        _ => json!({
            "react": file("react19/cjs/react.development.js"),
            "scheduler": file("react-dom19/node_modules/scheduler/cjs/scheduler.development.js"),
            "react-dom": file("react-dom19/cjs/react-dom.development.js"),
            "client": file("react-dom19/cjs/react-dom-client.development.js"),
        }),
    }
}

/// The page with the three components.
async fn mounted<'a>(browser: &'a Browser, gateway: &Gateway, version: u32, strict: bool) -> Window<'a> {
    let window = browser.window(&format!("{}/livez", gateway.http_url())).await;
    let Room { date, employee_id } = Room::tomorrow_of(4);
    let script = include_str!("../../browser/slots-page.js");
    window.run(script, vec![react(version).await, json!(date), json!(employee_id), json!(strict)]).await;
    let running = window.value("page.version").await;
    assert!(running.as_str().is_some_and(|running| running.starts_with(&version.to_string())), "{running}");
    window.eventually("page.shown.is", true).await;
    window
}

async fn renders(window: &Window<'_>, of: &str) -> u64 {
    window.value(&format!("page.renders.{of}")).await.as_u64().expect("a count")
}

async fn a_thousand_changes(version: u32) {
    let gateway = Gateway::start().await;
    let browser = Browser::start().await;
    let room = Room::tomorrow_of(4);
    let mover = Page::watching(&gateway, "mover", &room).await;
    mover.confirm(&room, "16:00", "k").await.assert_ok("confirmed");
    let window = mounted(&browser, &gateway, version, false).await;
    window.eventually("page.text('booked')", "16:00").await;
    window.eventually("page.text('elsewhere')", "none").await;
    let before = (
        renders(&window, "active").await,
        renders(&window, "booked").await,
        renders(&window, "elsewhere").await,
    );

    for change in 0..CHANGES {
        let time = ["09:00", "09:30", "10:00", "10:30", "11:00"][change as usize % 5];
        mover.select(&room, time).await.assert_ok("selected");
    }
    let last = mover.select(&room, "12:00").await;
    last.assert_ok("selected");
    window.eventually("page.text('active')", "12:00").await;
    let after = (
        renders(&window, "active").await,
        renders(&window, "booked").await,
        renders(&window, "elsewhere").await,
    );
    assert!(after.0 - before.0 <= u64::from(CHANGES) + 1, "{before:?} {after:?}");
    assert!(after.0 > before.0, "{before:?} {after:?}");
    assert_eq!((after.1, after.2), (before.1, before.2), "of these nothing changed");

    window.run("await page.slots.lock('13:00');", Vec::new()).await;
    mover.eventually_locked(&room, &["13:00"]).await;
    window.eventually("[page.shown.mine.locks[0]?.time, page.shown.locked]", json!(["13:00", []])).await;
    mover.lock(&room, "12:00").await.assert_ok("locked");
    window.eventually("[page.shown.active, page.shown.locked]", json!([[], ["12:00"]])).await;
    // The page's own choice, as it was handed to AppointEase's hook.
    window.run("page.choose('14:00');", Vec::new()).await;
    mover.eventually_active(&room, &["14:00"]).await;
    window.eventually("page.shown.mine.selected", "14:00").await;
    window.run("page.choose(null);", Vec::new()).await;
    mover.eventually_active(&room, &[]).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn react_18_shows_the_last_of_a_thousand_changes_and_renders_for_what_it_shows_alone() {
    a_thousand_changes(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn react_19_shows_the_last_of_a_thousand_changes_and_renders_for_what_it_shows_alone() {
    a_thousand_changes(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_the_components_share_one_socket_and_leave_none_behind() {
    let gateway = Gateway::start().await;
    let browser = Browser::start().await;
    let room = Room::tomorrow_of(4);
    let other = Page::watching(&gateway, "other", &room).await;
    for version in [18, 19] {
        let window = mounted(&browser, &gateway, version, true).await;
        assert_eq!(window.value("page.open.size").await, 1, "React {version}");
        other.select(&room, "10:00").await.assert_ok("selected");
        window.eventually("page.text('active')", "10:00").await;
        window.run("await page.slots.select('11:00');", Vec::new()).await;
        other.eventually_active(&room, &["10:00", "11:00"]).await;
        window.run("page.unmount();", Vec::new()).await;
        window.eventually("page.open.size", 0).await;
        other.eventually_active(&room, &["10:00"]).await;
        other.deselect(&room, "10:00").await.assert_ok("deselected");
        window.close().await;
    }
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_written_against_the_data_service_go_on_as_they_are() {
    let gateway = Gateway::start().await;
    let browser = Browser::start().await;
    let room = Room::tomorrow_of(4);
    let other = Page::watching(&gateway, "other", &room).await;
    let window = browser.window(&format!("{}/livez", gateway.http_url())).await;
    let script = r#"
        const [date] = args;
        const { createRedisDataService } = await import("/client/react.js");
        const data = createRedisDataService({ heartbeatEnabled: true });
        const said = [await data.selectSlot(date, "10:00", 4, "page-7")];
        said.push(await data.selectSlot(date, "11:00", 4, "page-8"));
        said.push(await data.selectSlot(date, "10:00", 4, "page-8"));
        said.push(await data.deselectSlot(date, "11:00", 4));
        said.push(await data.getActiveSelections(date, 4));
        const booking = { date, time: "10:00", employee_id: "4", firstName: "Ann", lastName: "Lee" };
        said.push(await data.confirmBooking({ ...booking, client_id: "page-7" }).catch((error) => error.code));
        said.push(await data.confirmBooking({ ...booking, client_id: "page-7", email: "a@example.com" }));
        said.push((await data.getAvailability(date, 4)).unavailable);
        return [...said, data.isRedisEnabled(), data.getStorageMode()];
    "#;
    let said = window.run(script, vec![json!(room.date)]).await;
    assert_eq!(said[0]["success"], true, "{said}");
    assert_eq!((&said[0]["status"], &said[0]["storage"]), (&json!("selected"), &json!("memory")), "{said}");
    assert_eq!((&said[2]["success"], &said[2]["code"]), (&json!(false), &json!("slot_locked")), "{said}");
    assert_eq!(said[3]["success"], true, "{said}");
    assert_eq!(said[4], json!(["10:00"]), "{said}");
    assert_eq!(said[5], "booking_invalid", "{said}");
    assert_eq!(said[6]["success"], true, "{said}");
    assert_eq!(said[7], json!(["10:00"]), "{said}");
    assert_eq!((&said[8], &said[9]), (&json!(false), &json!("memory")), "{said}");
    other.eventually_booked(&room, &["10:00"]).await;
    browser.quit().await;
}
