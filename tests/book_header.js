/* The finder beside the header: filters chapters and functions as you type.  On a narrow
   screen the list starts closed, and closes when something was chosen. */
(function () {
  var find = document.getElementById("find"), side = document.querySelector("#side details");
  var az = document.querySelector("#side .az"), items = document.querySelectorAll("#side li");
  var narrow = window.matchMedia("(max-width: 60rem)");
  if (narrow.matches) side.open = false;
  find.hidden = false;
  find.addEventListener("input", function () {
    var words = find.value.toLowerCase().split(/\s+/), all = words.join("") === "";
    items.forEach(function (li) {
      var text = li.textContent.toLowerCase();
      var hit = words.every(function (w) { return text.indexOf(w) >= 0; });
      li.hidden = li.className === "part" ? !all : !hit;
    });
    az.open = !all;
  });
  find.addEventListener("keydown", function (e) {
    if (e.key !== "Enter") return;
    var first = document.querySelector("#side li:not([hidden]) a");
    if (first) first.click();
  });
  side.addEventListener("click", function (e) {
    if (e.target.closest("li a") && narrow.matches) side.open = false;
  });
})();
