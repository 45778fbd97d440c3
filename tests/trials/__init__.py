"""Trainings drawn at random, right ones and ones with a planted fault, whose truth is known without gacheck.

    drawing      seed → Draw: what is trained, on what, how, through which door it is judged, and with which fault
    objectives   what is trained: a right training of each kind, and its right step in closed form (`right_steps`)
    faults       what can go wrong with it: one small change each, and the verdicts that name it
    building     Draw → a Trainer, the same every time
    truth        a bare Trainer of that kind beside plain torch: is its log right, is its gradient
    doors        what gacheck says of another one of that kind, through each of its doors
    judging      whether what it says is true

Nothing but `doors` and `judging` knows gacheck.
"""
