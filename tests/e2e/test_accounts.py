"""The books by which test_faults.py finds what is lost: that they find it."""
import pytest

from lab.accounts import UNKNOWN, Accounts, Found

BOB, EVE = "bob@example.com", "eve@example.com"
ABOVE = b"Received: from a by b\r\n\twith ESMTP\r\n"


@pytest.fixture
def books():
    return Accounts()


def taken(books, rcpts=(BOB,), **kw):
    entry = books.write("a@sender.example", rcpts, **kw)
    books.answer(entry, dict.fromkeys(rcpts, 250))
    return entry


def at(*copies):
    return {"server": [c if isinstance(c, Found) else Found(ABOVE + c, [BOB]) for c in copies]}


def test_all_is_well(books):
    one, two, three = taken(books), taken(books, size=50_000), taken(books, (BOB, EVE))
    b = books.balance({"server": [Found(ABOVE + one.data, [BOB]), Found(b"Delivered-To: bob\n" + two.data.replace(b"\r\n", b"\n"), [BOB]),
                                  Found(three.data, [EVE])],
                       "quarantine": [Found(three.data, [BOB])]})
    b.check()
    assert b.places == {"server": 3, "quarantine": 1} and b.acknowledged == 4 and b.duplicates == 0
    assert "4 taken" in str(b) and "lost 0, damaged 0, duplicates 0" in str(b)


def test_lost(books):
    one, two = taken(books), taken(books, (BOB, EVE))
    b = books.balance(at(two.data))
    assert b.lost == [(one.id, BOB), (two.id, EVE)]
    with pytest.raises(AssertionError, match="lost"):
        b.check()


@pytest.mark.parametrize("damage", [
    lambda d: d[:-1 - len(b"The end.\r\n")], lambda d: d[:len(d) // 2], lambda d: d.replace(b"The end.", b"the end."), lambda d: d + b"more\r\n",
    lambda d: d + d, lambda d: d.replace(b"\r\n.", b"\r\n..", 1), lambda d: d.replace(b"Subject: ", b"X-Subject: "), lambda d: d + b"."])
def test_damaged(books, damage):
    one = taken(books, size=5000)
    b = books.balance(at(damage(one.data)))
    assert b.damaged == [("server", one.id)] and b.lost == [(one.id, BOB)]
    with pytest.raises(AssertionError):
        b.check()


def test_a_damaged_copy_beside_a_whole_one(books):
    one = taken(books)
    b = books.balance(at(one.data, one.data[:-4]))
    assert b.damaged and not b.lost


def test_one_in_the_place_of_another(books):
    """The mark of one message over the body of another."""
    one, two = taken(books), taken(books)
    b = books.balance(at(one.data, two.data.replace(two.id.encode(), one.id.encode(), 1)))
    assert b.lost == [(two.id, BOB)] and b.damaged == [("server", one.id)]


def test_duplicates(books):
    one, two = taken(books), books.write("a@sender.example", [BOB])
    books.answer(two, {BOB: UNKNOWN})
    books.answer(two, {BOB: 451})
    books.answer(two, {BOB: 250})
    b = books.balance(at(one.data, two.data, two.data, two.data))
    assert b.duplicates == 2 and not b.unexplained
    b.check()
    b = books.balance(at(one.data, one.data, two.data, two.data, two.data, two.data))
    assert b.duplicates == 4 and b.unexplained == [(one.id, BOB, 2), (two.id, BOB, 4)]
    with pytest.raises(AssertionError, match="duplicates"):
        b.check()
    b.check(unexplained=False)
    books.balance(at(one.data, one.data, two.data), excused=1).check()


def test_refused_and_there(books):
    one = books.write("a@sender.example", [BOB, EVE])
    books.refuse(one, EVE, 550)
    books.answer(one, {BOB: 554})
    assert not books.balance(at()).ghosts and not one.left()
    assert books.balance(at(one.data)).ghosts == [(one.id, BOB)]


def test_put_off(books):
    one = books.write("a@sender.example", [BOB, EVE])
    books.refuse(one, EVE, 451)
    books.answer(one, {BOB: 250})
    assert one.left() == [EVE]
    b = books.balance(at(one.data))
    b.check()
    assert b.open == 1 and b.answers["4xx"] == 1


def test_strangers(books):
    b = books.balance(at(b"Subject: who?\r\n\r\nI am nobody's.\r\n"))
    with pytest.raises(AssertionError, match="nobody sent"):
        b.check()
