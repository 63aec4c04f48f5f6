use super::*;

#[test]
fn login_link_works_once_and_expires() {
    let mut access = Access::default();
    let (first, second) = (access.add_link(Role::Admin, 1000), access.add_link(Role::Viewer, 1000));
    assert_eq!(access.take_link(first.text(), 2000).map(|who| who.role), Some(Role::Admin));
    assert_eq!(access.take_link(first.text(), 2000), None);
    assert_eq!(access.take_link(second.text(), 1000 + LINK_MS), None, "too late");
    assert_eq!(access.take_link("", 0), None);
    for _ in 0..100 {
        access.add_link(Role::Viewer, 0);
    }
    assert_eq!(access.links.len(), MOST_LINKS);
}

#[test]
fn token_names_are_checked_and_revoking_removes_sessions() {
    let mut access = Access::default();
    let token = access.add_token("ci", Role::Operator, vec!["prod".into()], 5).unwrap();
    assert_eq!(access.add_token("ci", Role::Viewer, vec![], 5).err(), Some(TokenError::Exists));
    for name in ["", "a b", "<b>", &"x".repeat(65), "ü"] {
        assert_eq!(access.add_token(name, Role::Viewer, vec![], 5).err(), Some(TokenError::Name), "{name}");
    }
    let who = access.by_token(token.text()).unwrap();
    assert!(who.user == "token ci" && who.role == Role::Operator && who.sees("prod") && !who.sees("default") && !who.sees_all());
    assert_eq!(access.by_token("something else"), None);
    let cookie = access.add_session(&who, 10);
    assert_eq!(access.by_session(cookie.text(), 20), Some(who));
    assert!(access.revoke("ci") && !access.revoke("ci"));
    assert_eq!((access.by_token(token.text()), access.by_session(cookie.text(), 20)), (None, None));
}

#[test]
fn sessions_expire_and_are_bounded_per_user() {
    let mut access = Access::default();
    let who = Identity { user: "link".into(), role: Role::Admin, namespaces: vec![], share: String::new() };
    let cookies: Vec<Secret> = (0..MOST_SESSIONS_OF_USER + 1).map(|_| access.add_session(&who, 0)).collect();
    let is_in = |access: &Access, at: usize, now| access.by_session(cookies[at].text(), now).is_some();
    assert!(!is_in(&access, 0, 1) && is_in(&access, 1, 1), "the oldest made room");
    assert!(is_in(&access, 1, SESSION_MS - 1) && !is_in(&access, 1, SESSION_MS));
    access.end_session(cookies[1].text());
    assert!(!is_in(&access, 1, 1) && is_in(&access, 2, 1));
    let viewer = Identity { user: "token eyes".into(), role: Role::Viewer, namespaces: vec![], share: String::new() };
    (0..200).for_each(|_| drop(access.add_session(&viewer, 0)));
    assert!(is_in(&access, 2, 1), "logins of another user take no place from it");
    access.set_password(Some("x".into()));
    assert!(!is_in(&access, 2, 1), "a new password ends all of them");
}

#[test]
fn access_file_contains_no_usable_secret() {
    let mut access = Access::default();
    let who = Identity { user: "link".into(), role: Role::Admin, namespaces: vec![], share: String::new() };
    let secrets = [access.add_link(Role::Admin, 0), access.add_token("t", Role::Admin, vec![], 0).unwrap(), access.add_session(&who, 0)];
    let text = serde_json::to_string(&access).unwrap();
    assert!(secrets.iter().all(|secret| !text.contains(secret.text())), "{text}");
    assert_eq!(serde_json::from_str::<Access>(&text).unwrap(), access);
}
